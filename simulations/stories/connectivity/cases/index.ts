/** All policies of the connectivity matrix. */
import { ciliumEgress } from './cilium-egress.ts';
import { ciliumIngress } from './cilium-ingress.ts';
import { denials } from './denials.ts';
import { entitiesAndCidrs } from './entities-and-cidrs.ts';
import type { Case } from './expectation.ts';
import { kubernetes } from './kubernetes.ts';
import { layer7 } from './layer7.ts';

export type { Case } from './expectation.ts';

const named = (title: string, cases: readonly Case[]): Case[] =>
  cases.map((one) => ({ ...one, name: `${title}: ${one.name}` }));

export const cases: readonly Case[] = [
  ...named('ingress', ciliumIngress),
  ...named('egress', ciliumEgress),
  ...named('deny', denials),
  ...named('peers', entitiesAndCidrs),
  ...named('kubernetes', kubernetes),
  ...named('layer 7', layer7),
];
