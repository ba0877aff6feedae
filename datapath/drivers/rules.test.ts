/** The driver of rules keeps the laws; routes of other tables than main, which rules lead to, do too. */
import { expect, test } from 'vitest';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import { type RouteRow, type RuleRow, routeKey, ruleKey } from '../../state/tables.ts';
import { testNamespace } from '../testdata/namespace.ts';
import { RoutesDriver } from './routes.ts';
import { RulesDriver } from './rules.ts';

const rule = (row: Partial<RuleRow>, changed?: Partial<RuleRow>): SampleRow => {
  const value: RuleRow = { family: 'ipv4', priority: 1, mark: 0xe00, markMask: 0xf00, lookup: 200, ...row };
  return { table: 'rules', key: ruleKey(value), value, ...(changed && { changed: { ...value, ...changed } }) };
};

driverLaws('rules', () => {
  const node = testNamespace('node');
  return {
    driver: new RulesDriver(node.path),
    samples: [
      rule({}, { mark: 0xd00 }),
      rule({ family: 'ipv6' }, { lookup: 2005 }),
      rule({ priority: 100, lookup: 2004 }, { markMask: 0xff00 }),
      rule({ family: 'ipv6', priority: 100, mark: 0x80000000, markMask: 0xffffffff, lookup: 2004 }),
    ],
    impossible: [
      { ...rule({}), key: 'ipv4/0' },
      { ...rule({}), key: 'ipx/7' },
    ],
    strangers: [
      {
        ...rule({ priority: 9 }),
        make: () => void node.ip('rule add priority 9 fwmark 0x200/0xf00 lookup 77'),
        isUntouched: () => node.ip('rule show priority 9').includes('lookup 77'),
      },
    ],
    dispose: () => node.dispose(),
  };
});

test('a rule of somebody else that says the same is not taken for ours', () => {
  const node = testNamespace('node');
  try {
    node.ip('-6 rule add priority 1 fwmark 0xe00/0xf00 lookup 200');
    const driver = new RulesDriver(node.path);
    expect(driver.dump().size).toBe(0);
  } finally {
    node.dispose();
  }
});

const route = (row: Partial<RouteRow> & { dst: string }, changed?: Partial<RouteRow>): SampleRow => {
  const value: RouteRow = { type: 'unicast', netns: '', dev: 'near', via: '', src: '', mtu: 0, ...row };
  return { table: 'routes', key: routeKey(value), value, ...(changed && { changed: { ...value, ...changed } }) };
};

driverLaws('routes of other tables', () => {
  const node = testNamespace('node');
  node.ip('link add near type veth peer name far');
  node.ip('link set near up');
  node.ip('addr add 192.0.2.1/24 dev near');
  node.ip('addr add fd09::1/64 dev near nodad');
  return {
    driver: new RoutesDriver(node.path),
    samples: [
      route({ dst: '10.0.0.0/24' }, { mtu: 1400 }),
      route({ lookup: 200, dst: '10.0.0.0/24' }, { mtu: 1300, via: '192.0.2.9' }),
      route({ lookup: 200, dst: 'fd00::/64' }, { mtu: 1300, via: 'fd09::9' }),
      route({ lookup: 2005, dst: 'fd00::/64' }, { mtu: 1300 }),
      route({ lookup: 2005, dst: '0.0.0.0/0', via: '192.0.2.9' }),
    ],
    impossible: [route({ lookup: 200, dst: '10.9.0.0/16', dev: 'nolink' })],
    strangers: [
      {
        ...route({ lookup: 77, dst: '10.7.0.0/16' }),
        make: () => void node.ip('route add 10.7.0.0/16 dev near proto static table 77'),
        isUntouched: () => node.ip('route show table 77').includes('proto static'),
      },
    ],
    dispose: () => node.dispose(),
  };
});
