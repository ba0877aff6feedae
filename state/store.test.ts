/** The store keeps what it was told across a reopen, and never gives one endpoint id to two containers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Store } from './store.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'axt-store-'));
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

  it('refuses a file of a newer schema, naming both versions', () => {
    new Store(path).close();
    const raw = new Database(path);
    raw.pragma('user_version = 99');
    raw.close();
    expect(() => new Store(path)).toThrow(/schema version 99, this build knows \d+/);
  });

  it('gives each container one endpoint id, the smallest that is free', () => {
    const operation = fc.record({ container: fc.integer({ min: 0, max: 20 }).map(String), release: fc.boolean() });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const store = new Store(':memory:');
        const held = new Map<string, number>();
        for (const { container, release } of operations) {
          if (release) {
            store.releaseEndpointId(container);
            held.delete(container);
            continue;
          }
          const id = store.allocateEndpointId(container) as number;
          const expected = held.get(container) ?? smallestFree(held);
          expect(id).toBe(expected);
          held.set(container, id);
        }
        store.close();
      }),
      { numRuns: 50 },
    );
  });
});

function smallestFree(held: ReadonlyMap<string, number>): number {
  const taken = new Set(held.values());
  let id = 1;
  while (taken.has(id)) id++;
  return id;
}
