/**
 * The exports that one client sees: exports without an access list, and exports with a list that includes the client. Other
 * exports do not exist for the client: no option distinguishes them from unknown names.
 */
import type { AccessList, NbdExport, NbdExports } from '../protocol/exports.ts';

/** The user and group of a client; null: unknown, or a client on TCP. */
export type ClientUser = { readonly uid: number; readonly gid: number } | null;

/** Whether the list includes the client; true without a list. */
export function isAllowed(access: AccessList | null | undefined, user: ClientUser): boolean {
  if (access === null || access === undefined) return true;
  return user !== null && (access.uids.includes(user.uid) || access.gids.includes(user.gid));
}

export class VisibleExports implements NbdExports {
  readonly #all: NbdExports;
  readonly #user: ClientUser;

  constructor(all: NbdExports, user: ClientUser) {
    this.#all = all;
    this.#user = user;
  }

  get(name: string): NbdExport | undefined {
    const found = this.#all.get(name);
    return found !== undefined && this.#sees(found) ? found : undefined;
  }

  get defaultName(): string | undefined {
    return this.#all.defaultName;
  }

  *values(): Iterable<NbdExport> {
    for (const served of this.#all.values()) if (this.#sees(served)) yield served;
  }

  whyUnknown(name: string): string | undefined {
    return this.#all.whyUnknown?.(name, this.#sees);
  }

  readonly #sees = (served: NbdExport): boolean => isAllowed(served.access, this.#user);
}
