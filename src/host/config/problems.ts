/** Collects errors, so that an operator sees all of them at once. */
import { SwapError } from '../../base/errors.ts';

/** Maximum number of errors printed; the others are only counted. */
export const PROBLEMS_MAX = 20;

export class Problems {
  readonly #errors: SwapError[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** @param describe called only for the errors that are printed */
  add(describe: () => SwapError): void {
    this.#count++;
    if (this.#errors.length < PROBLEMS_MAX) this.#errors.push(describe());
  }

  /** Runs a check. @returns its value, or null if it threw a SwapError, which is collected */
  attempt<T>(check: () => T): T | null {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof SwapError)) throw error;
      this.add(() => error);
      return null;
    }
  }

  /** @throws SwapError the error if there is only one; otherwise ERR_ARG_VALUE with a line for each */
  throwIfAny(): void {
    const [first, ...others] = this.#errors;
    if (first === undefined) return;
    if (others.length === 0) throw first;
    const lines = this.#errors.map(({ message }) => `\n  ${message}`).join('');
    const more = this.#count - this.#errors.length;
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${this.#count} errors in the configuration:${lines}${more === 0 ? '' : `\n  and ${more} more`}`,
      { errors: this.#count },
    );
  }
}
