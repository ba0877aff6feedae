/** What nodes say they have, and what the directory of nodes answers. */

/** Facts of nodes, heard by the directory. */
export const claimsTopic = 'node-claims';
/** Of the directory's word to a node. */
export const standingTopic = 'node-standing';
export const directoryKey = 'node-directory';

export interface NodeClaim {
  name: string;
  /** This node's own: nobody takes it away from its pods. */
  own: boolean;
  /** RFC 3339; '' is the oldest. */
  created: string;
  /** Pod CIDRs and addresses, canonical. */
  cidrs: readonly string[];
}

export interface Standing {
  /** Number of the node on this node, 1 to 65535. */
  id: number;
  /** CIDRs that are another's, and whose. */
  refused: Readonly<Record<string, string>>;
}
