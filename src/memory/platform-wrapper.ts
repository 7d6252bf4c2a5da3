/**
 * Wraps functions of the platform: a Proxy replaces the native function. Name, length, prototype, own properties,
 * realm, errors, `new.target` and all arguments are the native function's, because the Proxy forwards them. The realm's
 * Function.prototype.toString, wrapped once, returns the native source text, which a Proxy does not forward.
 *
 * Remaining differences: util.types.isProxy() is true, and a stack trace has frames of this file.
 */
export type Callable = (...args: never[]) => unknown;

/** The native function behind each wrapper. */
const natives = new WeakMap<object, Callable>();

/**
 * A wrapper.
 * @param made is given what the native constructor made, and the function of ours that the caller called (the frame
 *   below it in the stack is the caller's); what it throws is the caller's
 * @param before is given the arguments before anything is made
 */
export function wrapConstructor<Native extends Callable>(
  native: Native,
  made: (result: object, args: readonly unknown[], called: Callable) => void,
  before: (args: readonly unknown[]) => void = () => {},
): Native {
  const construct = (target: Native, args: readonly unknown[], newTarget: Callable): object => {
    before(args);
    const result = Reflect.construct(target, args, newTarget) as object;
    made(result, args, construct);
    return result;
  };
  return remember(native, new Proxy(native, { construct }));
}

/** A wrapper. @param call instead of the native function; what it does not add is what Reflect.apply() of that does */
export function wrapFunction<Native extends Callable>(
  native: Native,
  call: (native: Native, self: unknown, args: readonly unknown[]) => unknown,
): Native {
  return remember(native, new Proxy(native, { apply: call }));
}

function remember<Native extends Callable>(native: Native, wrapper: Native): Native {
  natives.set(wrapper, native);
  return wrapper;
}

export const isWrapper = (value: object): boolean => natives.has(value);

/** Whether a property may be given another value. */
export function isReplaceable(holder: object, name: string): boolean {
  const found = Object.getOwnPropertyDescriptor(holder, name);
  return found !== undefined && 'value' in found && (found.writable || found.configurable) === true;
}

/** Puts a wrapper where the native function was, and where its prototype names it; attributes stay. */
export function replace(holder: object, name: string, wrapper: Callable): void {
  if (!isReplaceable(holder, name)) return;
  Reflect.defineProperty(holder, name, { value: wrapper });
  const { prototype } = wrapper as { readonly prototype?: object };
  if (prototype?.constructor === natives.get(wrapper))
    Reflect.defineProperty(prototype!, 'constructor', { value: wrapper });
}

/** Makes toString() of a realm's functions tell the text of the native ones. @param prototype its Function.prototype */
export function hideWrappers(prototype: object): void {
  const { toString: textOf } = prototype as { readonly toString: Callable };
  if (isWrapper(textOf)) return;
  const wrapper = wrapFunction(textOf, (native, self, args) =>
    Reflect.apply(native, natives.get(self as object) ?? self, args),
  );
  replace(prototype, 'toString', wrapper);
}
