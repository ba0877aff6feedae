/**
 * Tables `xfrm.states` and `xfrm.policies`: what IPsec encrypts, and how.
 *
 * - An association is ours when it is of ESP with request id 120, a policy when its priority is 120 or 121.
 * - Keys come from the keyring by id and fingerprint and go to the kernel; a dump compares the kernel's key with the derived one and
 *   says the fingerprint. A key that the keyring does not have yet, as after a start, is believed to be the row's.
 * - A policy is replaced in one step. The kernel cannot change an association's key or mode: it is made anew, and until it is
 *   there packets for it are dropped, never sent in clear. Another key is therefore to have another id.
 * - Sequence numbers of an association end: one that is half through is not dumped, so that the next put begins a new one.
 */
import { isErrno, NetlinkSocket } from '../../native/index.ts';
import {
  type TableName,
  type XfrmPolicyRow,
  type XfrmStateRow,
  xfrmPolicyKey,
  xfrmStateKey,
} from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, attemptAll, kernelError, opName } from '../errors.ts';
import type { Keyring } from '../keyring.ts';
import { OURS } from '../marks.ts';
import {
  type DumpedState,
  decodePolicy,
  decodeState,
  ESP,
  listAll,
  newPolicy,
  newState,
  policyId,
  stateId,
  type XfrmPolicy,
  type XfrmState,
  xfrmTypes,
} from '../netlink/xfrm.ts';

/** Of policies; a lower number goes first, so that a block counts where nothing is allowed. */
const priorities = { allow: OURS, block: OURS + 1 } as const;
const MISSING_ERRNOS = ['ENOSYS', 'EPROTONOSUPPORT', 'EOPNOTSUPP'] as const;
const MISSING =
  'this kernel has no IPsec with AES-GCM (CONFIG_INET_ESP, CONFIG_INET6_ESP, CONFIG_CRYPTO_GCM); npm run test:lab shows it on kernels that have it';
const SEQUENCE_HALF = 2 ** 31;
/** Fingerprint of a key that is of no key of the Secret. */
const FOREIGN = 'unknown';

export class XfrmDriver implements Driver {
  readonly tables = ['xfrm.states', 'xfrm.policies'] as const;
  readonly lane = 'kernel';
  readonly #home: string | undefined;
  readonly #keyring: Keyring;

  constructor(keyring: Keyring, netns?: string) {
    this.#home = netns;
    this.#keyring = keyring;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return attemptAll(ops, () => {
      const socket = this.#open();
      try {
        return ops.map((op) =>
          attempt(op, () => {
            try {
              return op.table === 'xfrm.states' ? this.#applyState(socket, op) : applyPolicy(socket, op);
            } catch (error) {
              if (!isErrno(error, ...MISSING_ERRNOS)) throw error;
              return kernelError(error.code, `${opName(op)}: ${MISSING}`, false);
            }
          }),
        );
      } finally {
        socket.close();
      }
    });
  }

  #open(): NetlinkSocket {
    return new NetlinkSocket('xfrm', this.#home ? { netns: this.#home } : {});
  }

  #applyState(socket: NetlinkSocket, op: Op): OpResult {
    const before = op.before as XfrmStateRow | undefined;
    if (op.action === 'delete') {
      if (before) removeState(socket, before);
      else
        for (const state of statesOf(socket)) if (xfrmStateKey(rowKeyOf(state)) === op.key) removeDumped(socket, state);
      return undefined;
    }
    const row = op.value as XfrmStateRow;
    if (row.reqid !== OURS) throw new TypeError(`reqid is ${row.reqid}, expected ${OURS}, which tells what is ours`);
    checkMark(row);
    const aead = this.#keyring.derive(row.src, row.dst, row.spi, row.fingerprint);
    if (!aead) {
      const why = this.#keyring.has(row.spi) ? 'has another fingerprint' : 'has not been read from the Secret';
      return kernelError('ENOKEY', `${opName(op)}: key ${row.spi} ${why}`, true);
    }
    const wanted = stateOf(row, aead);
    const message = newState(wanted);
    try {
      if (before && (before.mark !== row.mark || before.markMask !== row.markMask)) removeState(socket, before);
      if (tryNew(socket, message)) return undefined;
      const there = lookFor(socket, wanted);
      if (there && there.reqid !== OURS) {
        return kernelError('EEXIST', `${opName(op)}: an association is there, which is not ours`, false);
      }
      if (there && isEqual(there, wanted) && there.sent < SEQUENCE_HALF) return undefined;
      if (there) removeDumped(socket, there);
      socket.request(message);
    } finally {
      aead.key.fill(0);
      message.fill(0);
    }
    return undefined;
  }

  dump(table: TableName, known: ReadonlyMap<string, unknown>): Map<string, unknown> {
    const socket = this.#open();
    try {
      return table === 'xfrm.policies' ? dumpPolicies(socket) : this.#dumpStates(socket, known);
    } catch (error) {
      // Without xfrm_user there is nothing of ours.
      if (isErrno(error, 'EPROTONOSUPPORT')) return new Map();
      throw error;
    } finally {
      socket.close();
    }
  }

  #dumpStates(socket: NetlinkSocket, known: ReadonlyMap<string, unknown>): Map<string, XfrmStateRow> {
    const found = new Map<string, XfrmStateRow>();
    for (const state of statesOf(socket)) {
      const key = xfrmStateKey(rowKeyOf(state));
      if (state.sent >= SEQUENCE_HALF && known.has(key)) continue;
      found.set(key, this.#rowOf(state, known.get(key) as XfrmStateRow | undefined));
    }
    return found;
  }

  #rowOf(state: DumpedState, believed: XfrmStateRow | undefined): XfrmStateRow {
    const { src, dst, spi, reqid, mode, mark, outputMark } = state;
    const seen = this.#keyring.recognize(src, dst, spi, state.aead.key);
    const isUnread = believed !== undefined && !this.#keyring.derive(src, dst, spi, believed.fingerprint);
    return {
      direction: believed?.direction ?? 'out',
      src,
      dst,
      spi,
      reqid,
      mode,
      mark: mark.value,
      markMask: mark.mask,
      outputMark: outputMark.value,
      outputMarkMask: outputMark.mask,
      fingerprint: seen ?? (isUnread ? believed.fingerprint : FOREIGN),
    };
  }
}

const stateOf = (row: XfrmStateRow, aead: XfrmState['aead']): XfrmState => ({
  src: row.src,
  dst: row.dst,
  spi: row.spi,
  reqid: row.reqid,
  mode: row.mode,
  mark: { value: row.mark, mask: row.markMask },
  outputMark: { value: row.outputMark, mask: row.outputMarkMask },
  aead,
});

const rowKeyOf = ({ src, dst, spi }: DumpedState): XfrmStateRow => ({ src, dst, spi }) as XfrmStateRow;

function statesOf(socket: NetlinkSocket): DumpedState[] {
  const states = socket.request(listAll(xfrmTypes.getState), { dump: true }).map(decodeState);
  return states.filter((state) => state !== undefined).filter(({ proto, reqid }) => proto === ESP && reqid === OURS);
}

/** False: something is there under its name. */
function tryNew(socket: NetlinkSocket, message: Buffer): boolean {
  try {
    socket.request(message);
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw error;
  }
}

function lookFor(socket: NetlinkSocket, wanted: XfrmState): DumpedState | undefined {
  try {
    const [answer] = socket.request(stateId(xfrmTypes.getState, wanted));
    return answer && decodeState(answer);
  } catch (error) {
    if (isErrno(error, 'ESRCH')) return undefined;
    throw error;
  }
}

const isEqual = (a: DumpedState, b: XfrmState): boolean =>
  a.src === b.src &&
  a.mode === b.mode &&
  a.mark.value === b.mark.value &&
  a.mark.mask === b.mark.mask &&
  a.outputMark.value === b.outputMark.value &&
  a.outputMark.mask === b.outputMark.mask &&
  a.aead.algorithm === b.aead.algorithm &&
  a.aead.icvBits === b.aead.icvBits &&
  a.aead.key.equals(b.aead.key);

/** One of that name that is not ours stays. */
function removeState(socket: NetlinkSocket, { dst, spi, mark, markMask }: XfrmStateRow): void {
  const there = lookFor(socket, { dst, spi, mark: { value: mark, mask: markMask } } as XfrmState);
  if (there?.reqid === OURS) removeDumped(socket, there);
}

function removeDumped(socket: NetlinkSocket, state: DumpedState): void {
  quietly(socket, stateId(xfrmTypes.deleteState, state), 'ESRCH');
}

function applyPolicy(socket: NetlinkSocket, op: Op): undefined {
  if (op.action === 'put') {
    socket.request(newPolicy(policyOf(op.value as XfrmPolicyRow)));
    const before = op.before as XfrmPolicyRow | undefined;
    const row = op.value as XfrmPolicyRow;
    // The mask is part of what the kernel knows a policy by.
    if (before && before.markMask !== row.markMask)
      quietly(socket, policyId(xfrmTypes.deletePolicy, policyOf(before)), 'ENOENT');
    return;
  }
  for (const policy of policiesOf(socket)) {
    if (xfrmPolicyKey(rowOfPolicy(policy)) === op.key)
      quietly(socket, policyId(xfrmTypes.deletePolicy, policy), 'ENOENT');
  }
}

/** Linux drops bits beside the mask, and would then know the object by another mark. */
function checkMark({ mark, markMask }: { mark: number; markMask: number }): void {
  if ((mark & ~markMask) >>> 0 !== 0) {
    throw new TypeError(`mark 0x${mark.toString(16)} has bits beside its mask 0x${markMask.toString(16)}`);
  }
}

function policyOf(row: XfrmPolicyRow): XfrmPolicy {
  const { direction, src, dst, mark, markMask, action, templateSrc, templateDst, spi, reqid, optional } = row;
  checkMark(row);
  if (action === 'allow' && reqid !== OURS)
    throw new TypeError(`reqid is ${reqid}, expected ${OURS}, that of our associations`);
  return {
    direction,
    src,
    dst,
    mark: { value: mark, mask: markMask },
    priority: priorities[action],
    action,
    template:
      action === 'block'
        ? undefined
        : { src: templateSrc || undefined, dst: templateDst || undefined, spi, reqid, mode: 'tunnel', optional },
  };
}

function policiesOf(socket: NetlinkSocket): XfrmPolicy[] {
  const policies = socket.request(listAll(xfrmTypes.getPolicy), { dump: true }).map(decodePolicy);
  return policies
    .filter((policy) => policy !== undefined)
    .filter(({ action, priority }) => priority === priorities[action]);
}

function dumpPolicies(socket: NetlinkSocket): Map<string, XfrmPolicyRow> {
  return new Map(policiesOf(socket).map((policy) => [xfrmPolicyKey(rowOfPolicy(policy)), rowOfPolicy(policy)]));
}

const rowOfPolicy = ({ direction, src, dst, mark, action, template }: XfrmPolicy): XfrmPolicyRow => ({
  direction,
  src,
  dst,
  mark: mark.value,
  markMask: mark.mask,
  action,
  templateSrc: template?.src ?? '',
  templateDst: template?.dst ?? '',
  spi: template?.spi ?? 0,
  reqid: template?.reqid ?? 0,
  optional: template?.optional ?? false,
});

function quietly(socket: NetlinkSocket, message: Buffer, absent: string): void {
  try {
    socket.request(message);
  } catch (error) {
    if (!isErrno(error, absent)) throw error;
  }
}
