/**
 * Keeps V8's young generation at its initial size, 1 MiB. By default it grows up to 16 times when many objects survive, as in a
 * burst of connections, and shrinks late. The daemon does not need that: objects of a request are short-lived, so collecting a
 * small generation is cheap.
 */
import { setFlagsFromString } from 'node:v8';

/** Call it at the start of the process, before the young generation has grown. */
export function boundYoungHeap(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
