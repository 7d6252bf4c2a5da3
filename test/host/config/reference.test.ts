/** The reference page and the JSON schema are those of the settings, and the examples of the docs are valid. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { safeParse } from 'valibot';
import { diskEntries } from '../../../src/host/config/disk-schema.ts';
import { resolveHostConfig } from '../../../src/host/config/host-config.ts';
import { hostEntries } from '../../../src/host/config/host-schema.ts';
import { Problems } from '../../../src/host/config/problems.ts';
import { factsOf } from '../../../src/host/config/schema.ts';
import { layerOfToml } from '../../../src/host/config/toml-file.ts';

const root = join(import.meta.dirname, '../../../..');

test('host-toml.md and host.schema.json are up to date', () => {
  const script = join(root, 'scripts/host-reference.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});

interface ValueJson {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly ValueJson[];
  readonly minimum?: number;
}

/** Whether an editor that knows the JSON schema accepts the value, as far as the schema constrains its type. */
function fits(json: ValueJson, value: unknown): boolean {
  if (json.oneOf !== undefined) return json.oneOf.some((one) => fits(one, value));
  if (json.enum !== undefined) return json.enum.includes(value);
  const type = Array.isArray(value)
    ? 'array'
    : typeof value === 'number'
      ? 'integer'
      : typeof value;
  if (![json.type].flat().includes(type)) return false;
  return typeof value !== 'number' || value >= (json.minimum ?? value);
}

test('the JSON schema accepts every value that a host accepts, and the defaults', () => {
  const samples = [true, 0, 1, 600, -1, 'x', '', '1G', '0660', 'lz4', 'never', [], [1000], {}];
  let accepted = 0;
  for (const [key, schema] of Object.entries({ ...hostEntries, ...diskEntries })) {
    const { json, ifAbsent } = factsOf(schema);
    if (ifAbsent !== undefined) assert.ok(fits(json as ValueJson, ifAbsent), key);
    for (const value of samples) {
      if (!safeParse(schema, value).success) continue;
      accepted++;
      assert.ok(fits(json as ValueJson, value), `${key}: ${JSON.stringify(value)}`);
    }
  }
  assert.ok(accepted > 40, String(accepted));
});

test('the TOML of every page is a valid configuration', () => {
  const pages = [
    'docs/reference/host-toml.md',
    'docs/how-to/install-as-a-service.md',
    'docs/how-to/change-a-running-host.md',
    'docs/how-to/encrypt-connections.md',
  ];
  for (const page of pages) {
    const text = readFileSync(join(root, page), 'utf8');
    const blocks = [...text.matchAll(/```toml\n([\s\S]*?)```/g)];
    assert.ok(blocks.length > 0, page);
    for (const [, block = ''] of blocks) {
      const problems = new Problems();
      const layer = layerOfToml(page, block, problems);
      problems.throwIfAny();
      resolveHostConfig(layer!);
    }
  }
});
