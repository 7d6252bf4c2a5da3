/**
 * Keeps V8's young generation at its first size, 1 MiB. It grows sixteenfold when much of it survives, as during a
 * burst of connections, and does not shrink for long; a daemon that counts mebibytes has no use for that. What a
 * request leaves behind is dead at once, so small collections cost it nothing.
 */
import { setFlagsFromString } from 'node:v8';

/** Applies from now on, to a process that has not grown yet. */
export function boundYoungHeap(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
