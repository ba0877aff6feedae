/**
 * What passes between the CNI plugin and the agent, over HTTP on the agent's unix socket.
 *
 * - `POST /v1/cni/{add,del,check,gc}` take one of the requests below, `GET /v1/cni/status` takes nothing.
 * - Every answer is a `CniReply`: 200 with `result`, or an error status with `error`.
 */
import type { CniReplyRow } from '../state/tables.ts';

export interface CniAttachment {
  containerId: string;
  ifname: string;
}

export interface CniAddRequest extends CniAttachment {
  /** Absolute path of the pod's network namespace. */
  netns: string;
  podNamespace: string;
  podName: string;
  /** Empty when the runtime does not tell. */
  podUid: string;
}

export type CniDelRequest = CniAttachment;

export interface CniCheckRequest extends CniAttachment {
  netns: string;
  /** Host addresses with prefix length, as the runtime remembers them from ADD. */
  addresses: string[];
}

/** All attachments that the runtime still has; every other one is to go. */
export interface CniGcRequest {
  validAttachments: CniAttachment[];
}

/** `CniReplyRow.result` of an ADD: what the endpoint machine says of a wired pod. */
export interface CniAddResult {
  /** The end of the veth pair in the node's namespace. */
  link: string;
  mac: string;
  hostMac: string;
  mtu: number;
  /** Address as `/32` or `/128`. */
  ips: { address: string; gateway: string }[];
  routes: { dst: string; gw: string; mtu: number }[];
}

export interface CniStatus {
  ready: boolean;
  /** Why not, for people; empty when ready. */
  reason: string;
}

export type CniReply = CniReplyRow;
export type CniError = NonNullable<CniReplyRow['error']>;

/** What the agent does for the runtime. A handler answers with a reply; a throw is answered with code 11 (try again). */
export interface CniHandlers {
  add(request: CniAddRequest): Promise<CniReply>;
  del(request: CniDelRequest): Promise<CniReply>;
  /** An error when anything that ADD promised is missing, in the agent's mind or in the kernel. */
  check(request: CniCheckRequest): Promise<CniReply>;
  gc(request: CniGcRequest): Promise<CniReply>;
  status(): CniStatus;
}

/** Error codes of CNI spec 1.1, "Error". */
export const cniCodes = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
} as const;

export function cniError(code: number, msg: string, details = ''): CniReply {
  return { error: { code, msg, details } };
}
