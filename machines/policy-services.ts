/** Services as policies name them: by selector the pods behind them, without one the addresses of their slices. */
import type { KubeObject } from '../cluster/events.ts';
import { change } from './policy-apply.ts';
import { type PolicyContext, without } from './policy-context.ts';

const SERVICE_NAME = 'kubernetes.io/service-name';

const keyOf = ({ metadata }: KubeObject): string => `${metadata.namespace}/${metadata.name}`;

export function hearService(context: PolicyContext, object: KubeObject, gone: boolean): PolicyContext {
  const key = keyOf(object);
  if (gone) {
    const { namespace = '', name } = object.metadata;
    const left = { ...context, services: without(context.services, [key]) };
    return change(left, [{ type: 'service.removed', namespace, name }]);
  }
  const { selector } = (object.spec ?? {}) as { selector?: Record<string, string> };
  const hasSelector = selector !== undefined && Object.keys(selector).length > 0;
  const service = { labels: object.metadata.labels ?? {}, ...(hasSelector && { selector }) };
  return say({ ...context, services: { ...context.services, [key]: service } }, key);
}

export function hearSlice(context: PolicyContext, object: KubeObject, gone: boolean): PolicyContext {
  const key = keyOf(object);
  const name = object.metadata.labels?.[SERVICE_NAME];
  const before = context.slices[key]?.service;
  const service = name && `${object.metadata.namespace}/${name}`;
  if (gone || !service) {
    const left = { ...context, slices: without(context.slices, [key]) };
    return before ? say(left, before) : context;
  }
  // What is behind a selector is known by its labels.
  if (context.services[service]?.selector) return context;
  const endpoints = (object.endpoints ?? []) as { addresses?: string[] }[];
  const addresses = endpoints.flatMap(({ addresses = [] }) => addresses);
  const next = { ...context, slices: { ...context.slices, [key]: { service, addresses } } };
  return say(before && before !== service ? say(next, before) : next, service);
}

function say(context: PolicyContext, key: string): PolicyContext {
  const known = context.services[key];
  if (!known) return context;
  const [namespace = '', name = ''] = key.split('/');
  const { labels, selector } = known;
  const addresses = selector
    ? []
    : Object.values(context.slices)
        .filter(({ service }) => service === key)
        .flatMap(({ addresses }) => addresses);
  const service = { namespace, name, labels, selector, addresses: [...new Set(addresses)].sort() };
  return change(context, [{ type: 'service.upserted', service }]);
}
