/** The pool's invariants, whatever is asked, released and restored in whatever order. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AnyMachineSnapshot, initialTransition, transition } from 'xstate';
import type { LocalEndpointRow } from '../state/tables.ts';
import { ipPool } from './ip-pool.ts';
import type { Tell } from './machine.ts';

/** Offsets 2 to 6 of a /29: five addresses. */
const CAPACITY = 5;
const node = {
  type: 'kube.upserted',
  at: 0,
  resource: 'nodes',
  object: {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1' },
    spec: { podCIDRs: ['10.0.0.0/29', 'fd00::/64'] },
  },
};

class Pool {
  snapshot: AnyMachineSnapshot;
  constructor() {
    const input = { nodeName: 'n1', ipv4: true, ipv6: true };
    this.snapshot = initialTransition(ipPool.logic, input as never)[0];
  }
  /** What it says to whom in answer. */
  hear(message: object): Tell[] {
    const [next, actions] = transition(ipPool.logic, this.snapshot, message as never);
    this.snapshot = next;
    return (actions as unknown as { type: string; params: Tell }[])
      .filter(({ type }) => type === 'tell')
      .map(({ params }) => params);
  }
  request(owner: string): Tell[] {
    return this.hear({ type: 'address.request', at: 0, owner });
  }
  release(owner: string): void {
    this.hear({ type: 'address.release', at: 0, owner });
  }
}

const addressOf = (tells: readonly Tell[]): string | undefined => {
  const [first] = tells;
  return first?.message.type === 'address.granted' ? `${first.message.ipv4} ${first.message.ipv6}` : undefined;
};

describe('ip-pool', () => {
  it('keeps who asked before the node had a CIDR waiting, and then answers each', () => {
    const pool = new Pool();
    expect(pool.request('a')).toEqual([]);
    expect(pool.request('b')).toEqual([]);
    const answers = pool.hear(node);
    expect(answers.map(({ to }) => to)).toEqual(['a', 'b']);
    expect(answers.map((tell) => addressOf([tell]))).toEqual(['10.0.0.2 fd00::2', '10.0.0.3 fd00::3']);
  });

  it('refuses when all is held, naming node and CIDR, and gives again what is released', () => {
    const pool = new Pool();
    pool.hear(node);
    for (let i = 0; i < CAPACITY; i++) expect(addressOf(pool.request(`owner-${i}`))).toBeDefined();
    const [refusal] = pool.request('late');
    expect(refusal?.message).toMatchObject({
      type: 'address.refused',
      reason: 'node n1: pod CIDR 10.0.0.0/29 and fd00::/64 is exhausted, all 5 addresses are held',
    });
    pool.release('owner-3');
    expect(addressOf(pool.request('late'))).toBe('10.0.0.5 fd00::5');
  });

  it('does not give a restored address to anybody else', () => {
    const pool = new Pool();
    const row = { containerId: 'c', ifname: 'eth0', ipv4: '10.0.0.2', ipv6: 'fd00::2' } as LocalEndpointRow;
    pool.hear({ type: 'local.restored', at: 0, endpoints: [row] });
    pool.hear(node);
    expect(addressOf(pool.request('other'))).toBe('10.0.0.3 fd00::3');
    expect(addressOf(pool.request('endpoint/c/eth0'))).toBe('10.0.0.2 fd00::2');
  });

  it('never has two owners of one address, nor two addresses of one owner', () => {
    const action = fc.record({ owner: fc.integer({ min: 0, max: 8 }).map((n) => `owner-${n}`), release: fc.boolean() });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const pool = new Pool();
        pool.hear(node);
        const held = new Map<string, string>();
        for (const { owner, release } of actions) {
          if (release) {
            pool.release(owner);
            held.delete(owner);
            continue;
          }
          const address = addressOf(pool.request(owner));
          if (address === undefined) expect(held.size).toBe(CAPACITY);
          else held.set(owner, address);
          expect(new Set(held.values()).size).toBe(held.size);
          if (address !== undefined) expect(held.get(owner)).toBe(address);
        }
      }),
    );
  });
});
