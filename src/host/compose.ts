/** The one place where the host's parts are joined to the real ones: which disk, which door. */
import { Bug } from '../base/assert.ts';
import type { HostParts } from './parts.ts';

export function composeParts(): HostParts {
  throw new Bug('host/compose.ts joins no parts yet');
}
