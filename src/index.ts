export { SwapError } from './base/errors.ts';
