/** The store keeps what it was told across a reopen, and never gives one endpoint id to two containers. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Store } from './store.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), `axt-${process.pid}-store-`));
  path = join(dir, 'state.db');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('store', () => {
  it('keeps rows and their last op across a reopen', () => {
    const first = new Store(path);
    first.write([
      { table: 'links', key: 'lxc1', json: '{"mtu":1500}', op: '{"action":"put"}' },
      { table: 'links', key: 'lxc2', json: '{"mtu":1500}', op: '' },
    ]);
    first.write([{ table: 'links', key: 'lxc2', json: undefined, op: '' }]);
    first.close();
    const again = new Store(path);
    expect(again.rows()).toEqual([{ table: 'links', key: 'lxc1', value: { mtu: 1500 }, op: '{"action":"put"}' }]);
    again.close();
  });

  it('moves what was written into the database once nothing more is, not before', async () => {
    const store = new Store(path);
    const before = statSync(path).size;
    for (let n = 0; n < 2_000; n++)
      store.write([{ table: 'links', key: `lxc${n}`, json: `{"alias":"${'x'.repeat(500)}"}`, op: '' }]);
    expect(statSync(path).size).toBe(before);
    await expect.poll(() => statSync(path).size, { timeout: 10_000 }).toBeGreaterThan(before);
    store.close();
  });

  it('refuses a file of a newer schema, naming both versions', () => {
    new Store(path).close();
    const raw = new Database(path);
    raw.pragma('user_version = 99');
    raw.pragma('application_id = 98');
    raw.close();
    expect(() => new Store(path)).toThrow(/schema version 99, which version 98 and later read; this build knows \d+/);
  });

  it('reads a file of a newer schema that says it may, and leaves it for the upgrade that follows', () => {
    const before = new Store(path);
    before.write([{ table: 'links', key: 'lxc1', json: '{"alias":""}', op: '' }]);
    expect(before.allocateEndpointId('c1')).toBe(1);
    before.close();
    const raw = new Database(path);
    raw.exec('CREATE TABLE of_tomorrow (a TEXT)');
    raw.pragma('user_version = 99');
    raw.close();
    const after = new Store(path);
    expect(after.rows().map(({ key }) => key)).toEqual(['lxc1']);
    after.write([{ table: 'links', key: 'lxc2', json: '{"alias":""}', op: '' }]);
    expect(after.allocateEndpointId('c1')).toBe(1);
    expect(after.allocateEndpointId('c2')).toBe(2);
    after.close();
    const then = new Database(path, { readonly: true });
    expect(then.pragma('user_version', { simple: true })).toBe(99);
    then.close();
  });

  it('gives each container one endpoint id, and one that was freed only after all the others', () => {
    const operation = fc.record({ container: fc.integer({ min: 0, max: 20 }).map(String), release: fc.boolean() });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const store = new Store(':memory:');
        const held = new Map<string, number>();
        let last = 0;
        for (const { container, release } of operations) {
          if (release) {
            store.releaseEndpointId(container);
            held.delete(container);
            continue;
          }
          const id = store.allocateEndpointId(container) as number;
          expect(id).toBe(held.get(container) ?? ++last);
          held.set(container, id);
        }
        expect(store.endpointIds()).toEqual(held);
        store.close();
      }),
      { numRuns: 50 },
    );
  });

  it('goes round when the highest endpoint id was given, and refuses when all are taken', () => {
    new Store(path).close();
    const raw = new Database(path);
    const insert = raw.prepare('INSERT INTO endpoint_ids (id, container) VALUES (?, ?)');
    raw.transaction(() => {
      for (let id = 1; id <= 65_535; id++) if (id !== 7 && id !== 9) insert.run(id, `c${id}`);
    })();
    raw.close();
    const store = new Store(path);
    expect([store.allocateEndpointId('a'), store.allocateEndpointId('b')]).toEqual([7, 9]);
    expect(store.allocateEndpointId('c')).toBeUndefined();
    store.releaseEndpointId('c3');
    expect(store.allocateEndpointId('c')).toBe(3);
    store.close();
  });
});
