/**
 * Table `rules`: rules of policy routing in the node's namespace, of both families.
 *
 * - A rule is ours when it bears our protocol number; a priority that somebody else's rule has is theirs.
 * - A put of another value adds the new rule before it takes the old one away: the kernel allows both under one priority.
 */
import { isErrno } from '../../native/index.ts';
import { type RuleRow, ruleKey } from '../../state/tables.ts';
import type { Family } from '../address.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, attemptAll, kernelError, opName } from '../errors.ts';
import { OURS } from '../marks.ts';
import { messageFlags } from '../netlink/message.ts';
import { RouteSocket, tableOf } from '../netlink/route-socket.ts';
import { familyNumber, familyOfNumber, type RuleMessage, rtm, ruleActions, ruleMessage } from '../netlink/rtnetlink.ts';

const PRIORITY_MAX = 0xffff_ffff;

export class RulesDriver implements Driver {
  readonly tables = ['rules'] as const;
  readonly lane = 'kernel';
  readonly #home: string | undefined;

  constructor(netns?: string) {
    this.#home = netns;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return attemptAll(ops, () => {
      using socket = new RouteSocket(this.#home);
      return ops.map((op) =>
        attempt(op, () => (op.action === 'put' ? put(socket, op) : remove(socket, placeOf(op.key)))),
      );
    });
  }

  dump(): Map<string, RuleRow> {
    using socket = new RouteSocket(this.#home);
    const found = new Map<string, RuleRow>();
    for (const family of [4, 6] as const) {
      for (const rule of socket.rules(family)) {
        const row = isOurs(rule) ? rowOf(rule) : undefined;
        if (row) found.set(ruleKey(row), row);
      }
    }
    return found;
  }
}

interface Place {
  family: Family;
  priority: number;
}

/** Of a key `ipv4/100`. */
function placeOf(key: string): Place {
  const [, family, digits = ''] = /^ipv([46])\/(\d+)$/.exec(key) ?? [];
  const priority = Number(digits);
  if (family === undefined || priority < 1 || priority > PRIORITY_MAX) {
    throw new TypeError(`${JSON.stringify(key)} is no rule, expected ipv4/PRIORITY or ipv6/PRIORITY`);
  }
  return { family: family === '4' ? 4 : 6, priority };
}

function put(socket: RouteSocket, op: Op): OpResult {
  const row = op.value as RuleRow;
  const place = placeOf(op.key);
  const there = socket.rules(place.family).filter(({ attributes }) => attributes.priority === place.priority);
  const stranger = there.find((rule) => !isOurs(rule));
  if (stranger) {
    const { protocol = 0 } = stranger.attributes;
    return kernelError('EEXIST', `${opName(op)}: a rule of protocol ${protocol} is there, which is not ours`, false);
  }
  const isWanted = (rule: RuleMessage): boolean => {
    const found = rowOf(rule);
    return found?.mark === row.mark && found.markMask === row.markMask && found.lookup === row.lookup;
  };
  if (!there.some(isWanted)) {
    const flags = messageFlags.create | messageFlags.excl;
    socket.change(ruleMessage.encode(rtm.newRule, flags, bodyOf(place, row)));
  }
  for (const rule of there.filter((other) => !isWanted(other))) {
    socket.change(ruleMessage.encode(rtm.delRule, 0, bodyOf(place, rowOf(rule))));
  }
  return undefined;
}

function remove(socket: RouteSocket, place: Place): OpResult {
  for (;;) {
    try {
      socket.change(ruleMessage.encode(rtm.delRule, 0, bodyOf(place)));
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
      throw error;
    }
  }
}

function bodyOf({ family, priority }: Place, row?: RuleRow): Parameters<typeof ruleMessage.encodeBody>[0] {
  const base = { family: familyNumber(family), action: ruleActions.toTable };
  if (!row) return { ...base, attributes: { priority, protocol: OURS } };
  const { table, attributes } = tableOf(row.lookup);
  const { mark, markMask: mask } = row;
  return { ...base, table, attributes: { ...attributes, priority, mark, mask, protocol: OURS } };
}

const isOurs = ({ attributes, action }: RuleMessage): boolean =>
  attributes.protocol === OURS && action === ruleActions.toTable;

function rowOf({ family, table, attributes }: RuleMessage): RuleRow | undefined {
  const number = familyOfNumber(family);
  if (number === undefined || attributes.priority === undefined) return undefined;
  const { priority, mark = 0, mask: markMask = 0 } = attributes;
  return { family: `ipv${number}`, priority, mark, markMask, lookup: attributes.table ?? table };
}
