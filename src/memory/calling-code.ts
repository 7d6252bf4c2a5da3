/** Finds out which code called a wrapper (platform-wrapper.ts): the program's, Node's or this package's. */

/** The folder of this package's modules. */
const ownFolder = new URL('../memory', import.meta.url).href.slice(0, -'memory'.length);

/** Maximum number of frames to examine: the built-in functions that create a buffer are a few frames deep. */
const FRAMES_MAX = 16;

/** Saved now: the program may replace the global and its function. */
const NativeError = Error;
const { captureStackTrace } = Error;

/** The innermost frames below a function that is on the stack; none if the program prevents it. */
function framesBelow(called: object, count: number): readonly NodeJS.CallSite[] {
  const { stackTraceLimit, prepareStackTrace } = NativeError;
  const trace: { stack?: unknown } = {};
  // Reflect.set: the program may have frozen Error.
  Reflect.set(NativeError, 'stackTraceLimit', count);
  Reflect.set(
    NativeError,
    'prepareStackTrace',
    (_: Error, sites: readonly NodeJS.CallSite[]) => sites,
  );
  Reflect.apply(captureStackTrace, NativeError, [trace, called]);
  const { stack } = trace; // formatted on first access, by the function above
  Reflect.set(NativeError, 'stackTraceLimit', stackTraceLimit);
  if (prepareStackTrace === undefined) Reflect.deleteProperty(NativeError, 'prepareStackTrace');
  else Reflect.set(NativeError, 'prepareStackTrace', prepareStackTrace);
  return Array.isArray(stack) ? stack : [];
}

/** Whether a module bundled with Node (undici, the CommonJS lexer) called the function. */
export const isCalledByDependencyOfNode = (called: object): boolean =>
  framesBelow(called, 1)[0]?.getFileName()?.startsWith('node:internal/deps/') === true;

/**
 * Whether the program called the function, directly or through a built-in function (`array.slice()`,
 * `Buffer.concat()`). False for calls from Node's own modules and from this package, and if it is not known.
 */
export function isCalledByProgram(called: object): boolean {
  for (const site of framesBelow(called, FRAMES_MAX)) {
    const file = site.getFileName() ?? '';
    if (file === '' && !site.isEval()) continue; // built into V8
    if (file === 'node:buffer') continue;
    return !file.startsWith('node:') && !file.startsWith(ownFolder);
  }
  return false;
}
