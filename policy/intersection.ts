/**
 * Between two states of policy: what both of them allow, and whether one allows what the other does not.
 *
 * - Programs that go from the one to what both allow lose only what the other denies; from there to the other they gain only what it
 *   allows. So two ends that change at once never let through what neither state does, whichever of them is first.
 * - Entries are judged as programs look at them: those for one identity together with those for anybody.
 */
import type { PolicyEntry, Touched } from './change.ts';
import { fewest, isDenial, type Ruling, type Rulings } from './entries.ts';
import { entryOf, type Group, groupFrom, groupOf } from './groups.ts';
import { broader, type PortKey } from './ports.ts';
import { type Direction, directions } from './rule.ts';
import { ANYBODY, type PolicyState } from './state.ts';

/** One group of entries that allows what the group allows in both states, and denies what it denies in either. */
export function entriesOfBoth(
  before: PolicyState,
  after: PolicyState,
  endpointId: number,
  identity: number,
): PolicyEntry[] {
  return directions.flatMap((direction) => {
    const group = groupOfBoth(before, after, endpointId, direction, identity);
    return group ? group.parts.map((part) => entryOf(direction, identity, part)) : [];
  });
}

function groupOfBoth(
  before: PolicyState,
  after: PolicyState,
  endpointId: number,
  direction: Direction,
  identity: number,
): Group | undefined {
  const [old, young] = [before, after].map((state) => groupOf(state, endpointId, direction, identity));
  // Where nothing is enforced, everything is allowed.
  if (!old || !young || old === young) return old ?? young;
  const [oldAny, youngAny] = [before, after].map((state) => groupOf(state, endpointId, direction, ANYBODY)) as [
    Group,
    Group,
  ];
  const anybody = rulingsOfBoth([oldAny.rulings], [youngAny.rulings]);
  if (identity === ANYBODY) return groupFrom(fewest(anybody));
  const own = rulingsOfBoth([old.rulings, oldAny.rulings], [young.rulings, youngAny.rulings]);
  return groupFrom(fewest(own, fewest(anybody)));
}

/** All denials of the two, and the allowances that the other side allows too; the old one's where both have one. */
function rulingsOfBoth(old: readonly Rulings[], young: readonly Rulings[]): Map<PortKey, Ruling> {
  const both = new Map<PortKey, Ruling>();
  for (const [side, other] of [
    [old, young],
    [young, old],
  ] as const) {
    for (const rulings of side) {
      for (const [key, ruling] of rulings) {
        const known = both.get(key);
        if (known && known.precedence >= ruling.precedence) continue;
        if (isDenial(ruling) || isSaid(key, other, false)) both.set(key, ruling);
      }
    }
  }
  return both;
}

/** A ruling of that kind covers the key. */
function isSaid(key: PortKey, said: readonly Rulings[], denial: boolean): boolean {
  for (let wider: PortKey | undefined = key; wider !== undefined; wider = broader(wider)) {
    for (const rulings of said) {
      const ruling = rulings.get(wider);
      if (ruling && isDenial(ruling) === denial) return true;
    }
  }
  return false;
}

/**
 * At one end something is taken away, and at the other end of some connection something is added: an egress and an ingress. Only
 * endpoints that are in both states count; `touched` is of the apply that made the one of the other.
 */
export function isExchange(before: PolicyState, after: PolicyState, { groups, enforcement }: Touched): boolean {
  const taken = { ingress: false, egress: false };
  const given = { ingress: false, egress: false };
  const judged = new Judged();
  const identities = new Map<number, Iterable<number>>(groups);
  for (const endpointId of enforcement) if (!identities.has(endpointId)) identities.set(endpointId, [ANYBODY]);
  for (const [endpointId, changed] of identities) {
    if (!before.tables.subjects.has(endpointId) || !after.tables.subjects.has(endpointId)) continue;
    for (const direction of directions) {
      const [oldAny, youngAny] = [before, after].map((state) => groupOf(state, endpointId, direction, ANYBODY));
      if (!oldAny || !youngAny) {
        taken[direction] ||= youngAny !== undefined;
        given[direction] ||= oldAny !== undefined;
        continue;
      }
      for (const identity of changed) {
        if (taken[direction] && given[direction]) break;
        const [old, young] = [before, after].map((state) => groupOf(state, endpointId, direction, identity));
        if (!old || !young || judged.again(old, young)) continue;
        const [was, is] = [
          [old.rulings, oldAny.rulings],
          [young.rulings, youngAny.rulings],
        ];
        taken[direction] ||= takesAway(old.rulings, young.rulings, was, is);
        given[direction] ||= takesAway(young.rulings, old.rulings, is, was);
      }
    }
    if ((taken.ingress && given.egress) || (taken.egress && given.ingress)) return true;
  }
  return false;
}

/** Many identities share a group: each pair is looked at once. */
class Judged {
  readonly #pairs = new Map<Group, Set<Group>>();

  again(old: Group, young: Group): boolean {
    if (old === young) return true;
    const known = this.#pairs.get(old);
    if (known?.has(young)) return true;
    if (known) known.add(young);
    else this.#pairs.set(old, new Set([young]));
    return false;
  }
}

/** An allowance is no longer, or a denial is new. */
function takesAway(old: Rulings, young: Rulings, was: readonly Rulings[], is: readonly Rulings[]): boolean {
  for (const [key, ruling] of old) if (!isDenial(ruling) && !isSaid(key, is, false)) return true;
  for (const [key, ruling] of young) if (isDenial(ruling) && !isSaid(key, was, true)) return true;
  return false;
}
