/**
 * Which CiliumIdentity objects nobody uses any more, as a pure function of what is there.
 *
 * - One that is found unused is marked with the time; it goes when the mark is older than the grace period, and if it is used again
 *   before, the mark goes. So an endpoint may take up an identity that nobody had for a while.
 */
import type { KubeObject } from './events.ts';

/** As Cilium's operator marks them. */
export const UNUSED_SINCE = 'io.cilium.heartbeat';

export interface IdentitySweep {
  mark: KubeObject[];
  unmark: KubeObject[];
  remove: KubeObject[];
}

export function sweepIdentities(
  identities: readonly KubeObject[],
  used: ReadonlySet<string>,
  nowMs: number,
  graceMs: number,
): IdentitySweep {
  const sweep: IdentitySweep = { mark: [], unmark: [], remove: [] };
  for (const identity of identities) {
    const since = identity.metadata.annotations?.[UNUSED_SINCE];
    if (used.has(identity.metadata.name)) {
      if (since !== undefined) sweep.unmark.push(identity);
      continue;
    }
    const sinceMs = since === undefined ? Number.NaN : Date.parse(since);
    // A mark that is no time is made anew.
    if (Number.isNaN(sinceMs)) sweep.mark.push(identity);
    else if (nowMs - sinceMs >= graceMs) sweep.remove.push(identity);
  }
  return sweep;
}

interface Using {
  status?: { identity?: { id?: number } };
  /** Of a CiliumEndpointSlice. */
  endpoints?: readonly { id?: number }[];
}

/** Numbers that CiliumEndpoints and CiliumEndpointSlices name, as names of identities. */
export function usedIdentities(objects: readonly KubeObject[]): Set<string> {
  const used = new Set<string>();
  for (const object of objects as readonly (KubeObject & Using)[]) {
    for (const id of [object.status?.identity?.id, ...(object.endpoints ?? []).map(({ id }) => id)])
      if (id !== undefined) used.add(String(id));
  }
  return used;
}
