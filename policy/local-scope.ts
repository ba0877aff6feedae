/**
 * Numbers of identities that only this node knows (reference/identities-and-labels.md, section 1).
 *
 * - From 1 up they are CIDRs'; the last API_SERVER_NUMBERS are API servers' that are on no node.
 * - Other nodes have a scope of their own, where policies tell nodes by their labels.
 */
const SCOPE = 1 << 24;
const NODE_SCOPE = 2 << 24;
const NUMBERS = 1 << 24;

export const API_SERVER_NUMBERS = 4096;
/** Numbers of CIDRs are below. */
export const CIDR_NUMBERS = NUMBERS - API_SERVER_NUMBERS;

export const localIdentity = {
  ofCidr: (number: number): number => SCOPE | number,
  ofApiServer: (number: number): number => SCOPE | (NUMBERS - 1 - number),
  ofNode: (number: number): number => NODE_SCOPE | number,
  numberOf: (identity: number): number => identity & (NUMBERS - 1),
  isCidr: (identity: number): boolean => identity >>> 24 === 1 && (identity & (NUMBERS - 1)) < CIDR_NUMBERS,
};
