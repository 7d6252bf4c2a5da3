/**
 * Wraps functions of the platform: a Proxy replaces the native function. The Proxy forwards name, length, prototype, own
 * properties, realm, errors, `new.target` and all arguments of the native function. It does not forward the native source text,
 * so the realm's Function.prototype.toString is wrapped once to return it.
 *
 * Remaining differences: util.types.isProxy() is true, and a stack trace has frames of this file.
 */
export type Callable = (...args: never[]) => unknown;

/** The native function behind each wrapper. */
const natives = new WeakMap<object, Callable>();

/**
 * Returns a wrapper of a constructor.
 * @param made called with the new object, the arguments, and the wrapper's function (the stack frame below it is the
 *   caller's); its exceptions reach the caller
 * @param before called with the arguments before the object is created
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

/**
 * As wrapConstructor(), but with a function, which is several times faster than a Proxy. For constructors that a program calls
 * often.
 */
export function wrapFrequentConstructor<Native extends Callable>(
  native: Native,
  made: (result: object, args: readonly unknown[], called: Callable) => void,
): Native {
  const Target = native as unknown as new (...args: readonly unknown[]) => object;
  function construct(this: unknown, ...args: readonly unknown[]): unknown {
    if (new.target === undefined) return Reflect.apply(native, this, args as never[]);
    let result: object;
    if (new.target !== (construct as unknown))
      result = Reflect.construct(Target, args, new.target) as object;
    else if (args.length === 1) result = new Target(args[0]);
    else result = new Target(...args);
    made(result, args, construct as unknown as Callable);
    return result;
  }
  for (const key of Reflect.ownKeys(native))
    Reflect.defineProperty(construct, key, Reflect.getOwnPropertyDescriptor(native, key)!);
  Reflect.setPrototypeOf(construct, Reflect.getPrototypeOf(native));
  return remember(native, construct as unknown as Native);
}

/** Returns a wrapper of a function. @param call is called instead of the native function, and gets it as an argument */
export function wrapFunction<Native extends Callable>(
  native: Native,
  call: (native: Native, self: unknown, args: readonly unknown[]) => unknown,
): Native {
  return remember(native, new Proxy(native, { apply: call }));
}

/** A wrapper, for calls with and without `new`. @param change returns the arguments for the native function */
export function wrapArguments<Native extends Callable>(
  native: Native,
  change: (args: readonly unknown[]) => readonly unknown[],
): Native {
  const wrapper = new Proxy(native, {
    apply: (target, self, args) => Reflect.apply(target, self, change(args)),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, change(args), newTarget) as object,
  });
  return remember(native, wrapper);
}

function remember<Native extends Callable>(native: Native, wrapper: Native): Native {
  natives.set(wrapper, native);
  return wrapper;
}

export const isWrapper = (value: object): boolean => natives.has(value);

/** Whether the property is a data property with a value that can be changed. */
export function isReplaceable(holder: object, name: string): boolean {
  const found = Object.getOwnPropertyDescriptor(holder, name);
  return found !== undefined && 'value' in found && (found.writable || found.configurable) === true;
}

/**
 * Replaces the native function, and the `constructor` of its prototype, with the wrapper; attributes stay. Returns false if the
 * property cannot be changed.
 */
export function replace(holder: object, name: string, wrapper: Callable): boolean {
  if (!isReplaceable(holder, name)) return false;
  Reflect.defineProperty(holder, name, { value: wrapper });
  const { prototype } = wrapper as { readonly prototype?: object };
  if (prototype?.constructor === natives.get(wrapper))
    Reflect.defineProperty(prototype!, 'constructor', { value: wrapper });
  return true;
}

/** Makes toString() of wrappers return the native text. @param prototype Function.prototype of the realm */
export function hideWrappers(prototype: object): void {
  const { toString: textOf } = prototype as { readonly toString: Callable };
  if (isWrapper(textOf)) return;
  const wrapper = wrapFunction(textOf, (native, self, args) =>
    Reflect.apply(native, natives.get(self as object) ?? self, args),
  );
  replace(prototype, 'toString', wrapper);
}
