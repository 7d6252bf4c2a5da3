/**
 * A setting is a valibot schema with the text for help and reference. host-schema.ts and disk-schema.ts define the settings;
 * flags, help, checks, suggestions and the reference page are derived from them.
 *
 * This file walks tables itself instead of using v.strictObject() and v.record(): the first accepts names that every object
 * inherits, such as `toString`, and the second silently drops `constructor` and `__proto__`.
 */
import * as v from 'valibot';
import { SwapError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import { printable } from '../../base/printable.ts';
import type { Setting, Settings } from './layers.ts';
import type { Problems } from './problems.ts';
import { shownKey, shownValue } from './shown-value.ts';

export interface SettingSpec {
  readonly name: string;
  readonly short?: string;
  /** Placeholder of the value in help; absent: a boolean flag. */
  readonly value?: string;
  /** True: also a flag without a value; a value follows `=` in the same word. */
  readonly isValueOptional?: boolean;
  readonly multiple?: boolean;
  readonly help: string;
}

/** A setting for people and for editors. */
export interface SettingFacts {
  readonly short?: string;
  readonly value?: string;
  readonly help: string;
  /** The values in TOML, as JSON schema. */
  readonly json: object;
  /** What a reload does with a new value. */
  readonly reload: 'at once' | 'new connections' | 'restart' | 'remove and add the disk';
}

type AnySchema = v.GenericSchema<unknown, unknown>;
// biome-ignore lint/suspicious/noExplicitAny: any default
type WithDefault = v.OptionalSchema<any, any>;
export type Entries = Readonly<Record<string, AnySchema>>;

/** The typed values; those with a default are always present. */
export type ValuesOf<E extends Entries> = {
  readonly [K in keyof E as E[K] extends WithDefault ? K : never]: v.InferOutput<E[K]>;
} & {
  readonly [K in keyof E as E[K] extends WithDefault ? never : K]?: v.InferOutput<E[K]>;
};

/** Placeholder for the origin in errors of the parsers; messages get the real one. */
const HERE = 'value';
/** PATH_MAX of Linux, and more than the longest list of ids, characters. */
const TEXT_MAX = 4096;

/** The action that parses text with one of the functions that throw SwapError. */
export const parsedBy = <T>(
  parse: (from: string, text: string) => T,
): v.RawTransformAction<string, T> =>
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    if (dataset.value.length > TEXT_MAX) {
      addIssue({ message: `${shownValue(dataset.value)} is too long` });
      return NEVER;
    }
    try {
      return parse(HERE, dataset.value);
    } catch (error) {
      if (!(error instanceof SwapError)) throw error;
      addIssue({ message: printable(error.message.slice(`${HERE}: `.length)) });
      return NEVER;
    }
  });

type Message = (issue: v.BaseIssue<unknown>) => string;

/** A message that starts with the refused value. */
export const refusing =
  (why: string): Message =>
  ({ input }) =>
    `${shownValue(input)} ${why}`;

/** Text that is not empty. */
const anyText = (): v.GenericSchema<string, string> =>
  v.pipe(
    v.string(refusing('is not a string: write it in quotes')),
    v.nonEmpty(refusing('is empty')),
  );

/** A path, an address or a name: one line, which messages and logs repeat. */
export const text = (): v.GenericSchema<string, string> =>
  v.pipe(
    anyText(),
    v.maxLength(TEXT_MAX, refusing(`is longer than ${TEXT_MAX} characters`)),
    v.regex(/^\P{Cc}*$/u, refusing('contains control characters')),
  );

/** A command of the shell, which may have several lines. */
export const commandText = (): v.GenericSchema<string, string> =>
  v.pipe(anyText(), v.regex(/^[^\0]*$/, refusing('contains a NUL')));

/** Text, or a whole number that is read as text: a size, a number of seconds. */
export const textOrNumber = (): v.GenericSchema<string | number, string> =>
  v.pipe(
    v.union(
      [v.string(), v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.transform(String))],
      refusing('is neither a string nor a whole number'),
    ),
    v.nonEmpty(refusing('is empty')),
  );

/** A whole number, or text that is one. */
export const wholeNumber = (min: number, max: number): v.GenericSchema<string | number, number> => {
  const why = refusing(`is not a whole number from ${min} to ${max}`);
  return v.pipe(
    textOrNumber(),
    v.regex(/^[0-9]{1,15}$/, why),
    v.transform(Number),
    v.minValue(min, why),
    v.maxValue(max, why),
  );
};

/** A setting without a default. */
export const setting = <I, O>(
  schema: v.GenericSchema<I, O>,
  facts: SettingFacts,
): v.GenericSchema<I, O> => v.pipe(schema, v.metadata({ ...facts }));

/** A setting with a default, in the form of the file. */
export const settingOr = <I, O, D extends I>(
  schema: v.GenericSchema<I, O>,
  ifAbsent: D,
  facts: SettingFacts,
): v.OptionalSchema<v.GenericSchema<I, O>, () => D> =>
  v.optional(setting(schema, facts), () => ifAbsent);

const isOptional = (schema: AnySchema): schema is WithDefault => schema.type === 'optional';

/** Description and default of a setting. */
export function factsOf(schema: AnySchema): SettingFacts & { readonly ifAbsent?: unknown } {
  const inner = isOptional(schema) ? (schema.wrapped as AnySchema) : schema;
  const facts = v.getMetadata(inner as Parameters<typeof v.getMetadata>[0]) as unknown as
    | SettingFacts
    | Record<string, never>;
  return isOptional(schema)
    ? { ...(facts as SettingFacts), ifAbsent: v.getDefault(schema) }
    : (facts as SettingFacts);
}

/** The settings as options of the command line. */
export const specsOf = (entries: Entries): SettingSpec[] =>
  Object.entries(entries).map(([name, schema]) => {
    const { short, value, help } = factsOf(schema);
    return {
      name,
      ...(short === undefined ? {} : { short }),
      ...(value === undefined ? {} : { value }),
      help,
    };
  });

/**
 * Checks the settings of a table, and fills in defaults.
 * @param whyUnknown describes a key that is not in `entries`, as messages show it; the suggestion is appended
 * @returns typed values; one that is wrong is absent, or the default
 */
export function checkEntries<E extends Entries>(
  entries: E,
  settings: Settings,
  problems: Problems,
  whyUnknown: (key: string, setting: Setting) => string,
): ValuesOf<E> {
  const values: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(entries))
    if (isOptional(schema)) values[key] = v.parse(schema, undefined);
  for (const [key, setting] of settings) {
    const { value, from } = setting;
    const schema = Object.hasOwn(entries, key) ? entries[key] : undefined;
    if (schema === undefined) {
      problems.add(() => {
        const why = whyUnknown(shownKey(key), setting) + suggestion(key, Object.keys(entries));
        return new SwapError('ERR_ARG_UNKNOWN', `${from}: ${why}`, { key: from, value: key });
      });
      continue;
    }
    const result = v.safeParse(schema, value, { abortEarly: true, abortPipeEarly: true });
    if (result.success) values[key] = result.output;
    else
      problems.add(() => {
        const why = result.issues[0].message;
        return new SwapError('ERR_ARG_VALUE', `${from}: ${why}`, { key: from });
      });
  }
  return values as ValuesOf<E>;
}
