import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDiskUses, formatStatus, StatusLine } from '../../src/cli/status-line.ts';

const erase = '\r\x1b[K';

function make(columns: number): { line: StatusLine; written: string[] } {
  const written: string[] = [];
  const output = { isTerminal: true, columns, write: (text: string) => void written.push(text) };
  return { line: new StatusLine(output), written };
}

test('the line is rewritten in place, cut to the width', () => {
  const { line, written } = make(6);
  line.show('abcdefgh');
  line.show('ij');
  assert.deepEqual(written, [`${erase}abcde`, `${erase}ij`]);
});

test('other lines are printed above', () => {
  const { line, written } = make(80);
  line.print('first');
  line.show('status');
  line.print('second');
  assert.deepEqual(written, ['first\n', `${erase}status`, `${erase}second\nstatus`]);
});

test('after erase() nothing is left, and later lines are plain', () => {
  const { line, written } = make(80);
  line.erase();
  line.show('status');
  line.erase();
  line.print('bye');
  assert.deepEqual(written, [`${erase}status`, erase, 'bye\n']);
});

test('the status contains stored pages and their cost', () => {
  const totals = {
    diskCount: 1,
    dataBytes: 4 << 20,
    compressedBytes: 1 << 20,
    usedBytes: 2 << 20,
    connections: 2,
    requests: 0,
  };
  assert.equal(
    formatStatus(totals, 1234.5),
    '1 disk  stored 4M  compressed 1M  used 2M  ratio 2.00  2 connections  1235 ops/s',
  );
});

test('the pages that a stop would lose are listed by disk, with connections', () => {
  assert.equal(
    formatDiskUses([
      { name: 'vm1', dataBytes: 4096, connections: 0 },
      { name: 'vm2', dataBytes: 2 ** 30, connections: 1 },
      { name: 'vm3', dataBytes: 8192, connections: 2 },
    ]),
    'vm1 (4K of pages), vm2 (1G of pages, 1 connection), vm3 (8K of pages, 2 connections)',
  );
});
