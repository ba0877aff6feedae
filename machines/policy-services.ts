/** Services as policies name them: by selector the pods behind them, without one the addresses of their slices. */
import type { KubeObject } from '../cluster/events.ts';
import { change } from './policy-apply.ts';
import type { PolicyContext } from './policy-context.ts';
import { recordsOf } from './records.ts';

const SERVICE_NAME = 'kubernetes.io/service-name';

const keyOf = ({ metadata }: KubeObject): string => `${metadata.namespace}/${metadata.name}`;

export function hearService(context: PolicyContext, object: KubeObject, gone: boolean): PolicyContext {
  const key = keyOf(object);
  const services = recordsOf(context.services);
  if (gone) {
    const { namespace = '', name } = object.metadata;
    const left = { ...context, services: services.with(key, undefined) };
    return change(left, [{ type: 'service.removed', namespace, name }]);
  }
  const { selector } = (object.spec ?? {}) as { selector?: Record<string, string> };
  const hasSelector = selector !== undefined && Object.keys(selector).length > 0;
  const service = { labels: object.metadata.labels ?? {}, ...(hasSelector && { selector }) };
  return say({ ...context, services: services.with(key, service) }, key);
}

export function hearSlice(context: PolicyContext, object: KubeObject, gone: boolean): PolicyContext {
  const slice = keyOf(object);
  const name = object.metadata.labels?.[SERVICE_NAME];
  const before = recordsOf(context.serviceOfSlice).get(slice);
  const service = name && `${object.metadata.namespace}/${name}`;
  if (gone || !service) return before ? say(withSlice(context, slice, before, undefined), before) : context;
  // What is behind a selector is known by its labels.
  if (recordsOf(context.services).get(service)?.selector) return context;
  const endpoints = (object.endpoints ?? []) as { addresses?: string[] }[];
  const addresses = endpoints.flatMap(({ addresses = [] }) => addresses);
  const moved = before && before !== service ? say(withSlice(context, slice, before, undefined), before) : context;
  return say(withSlice(moved, slice, service, addresses), service);
}

function withSlice(
  context: PolicyContext,
  slice: string,
  service: string,
  addresses: readonly string[] | undefined,
): PolicyContext {
  const slices = recordsOf(context.slices);
  const { [slice]: _, ...others } = slices.get(service) ?? {};
  const now = addresses ? { ...others, [slice]: addresses } : others;
  return {
    ...context,
    slices: slices.with(service, Object.keys(now).length > 0 ? now : undefined),
    serviceOfSlice: recordsOf(context.serviceOfSlice).with(slice, addresses && service),
  };
}

function say(context: PolicyContext, key: string): PolicyContext {
  const known = recordsOf(context.services).get(key);
  if (!known) return context;
  const [namespace = '', name = ''] = key.split('/');
  const { labels, selector } = known;
  const addresses = selector ? [] : Object.values(recordsOf(context.slices).get(key) ?? {}).flat();
  const service = { namespace, name, labels, selector, addresses: [...new Set(addresses)].sort() };
  return change(context, [{ type: 'service.upserted', service }]);
}
