/** Selectors as tables. */
import { describe, expect, test } from 'vitest';
import {
  matchesAll,
  parseFieldSelector,
  parseLabelSelector,
  SelectorError,
  selectorRequirements,
} from './selectors.ts';

const labels = { app: 'web', tier: 'front', 'example.com/size': '3', empty: '' };

describe('label selectors', () => {
  test.each([
    ['', true],
    ['app=web', true],
    ['app==web', true],
    ['app=db', false],
    ['app!=db', true],
    ['app!=web', false],
    ['missing!=x', true],
    ['app', true],
    ['missing', false],
    ['!missing', true],
    ['!app', false],
    ['app in (web, db)', true],
    ['app in (db)', false],
    ['app notin (db)', true],
    ['missing notin (x)', true],
    ['example.com/size>2', true],
    ['example.com/size<2', false],
    ['empty=', true],
    ['app=web,tier=front', true],
    ['app=web,tier=back', false],
    ['app in (web,db),!missing,tier', true],
  ])('"%s" matches: %s', (text, expected) => {
    expect(matchesAll(parseLabelSelector(text), labels)).toBe(expected);
  });

  test.each(['a b', 'a=b,', 'in (a)x', '=a', 'a in b', 'a=b=c', 'a=-b', '/a=b(', '!'])('"%s" is refused', (text) => {
    expect(() => parseLabelSelector(text)).toThrow(SelectorError);
  });

  test('keys of the prototype are no labels', () => {
    expect(matchesAll(parseLabelSelector('constructor'), labels)).toBe(false);
  });
});

describe('selectors of objects', () => {
  test.each([
    [{}, true],
    [{ matchLabels: { app: 'web' } }, true],
    [{ matchLabels: { app: 'web', tier: 'back' } }, false],
    [{ matchExpressions: [{ key: 'app', operator: 'In', values: ['web'] }] }, true],
    [{ matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] }, false],
    [{ matchExpressions: [{ key: 'missing', operator: 'NotIn', values: ['x'] }] }, true],
    [
      {
        matchExpressions: [
          { key: 'tier', operator: 'Exists' },
          { key: 'missing', operator: 'DoesNotExist' },
        ],
      },
      true,
    ],
  ])('%j matches: %s', (selector, expected) => {
    expect(matchesAll(selectorRequirements(selector), labels)).toBe(expected);
  });

  test.each([
    [{ key: 'a', operator: 'In', values: [] }, 'needs at least one value'],
    [{ key: 'a', operator: 'Exists', values: ['x'] }, 'takes no values'],
    [{ key: 'a', operator: 'Like', values: ['x'] }, 'is none of In, NotIn, Exists, DoesNotExist'],
  ])('%j is refused', (expression, message) => {
    expect(() => selectorRequirements({ matchExpressions: [expression] })).toThrow(message);
  });
});

describe('field selectors', () => {
  test.each([
    ['', []],
    ['metadata.name=a', [{ field: 'metadata.name', equal: true, value: 'a' }]],
    [
      'a==b,c!=d',
      [
        { field: 'a', equal: true, value: 'b' },
        { field: 'c', equal: false, value: 'd' },
      ],
    ],
    ['a=x\\,y', [{ field: 'a', equal: true, value: 'x,y' }]],
  ])('"%s"', (text, expected) => {
    expect(parseFieldSelector(text)).toEqual(expected);
  });

  test('without an operator are refused', () => {
    expect(() => parseFieldSelector('metadata.name')).toThrow('neither field=value nor field!=value');
  });
});
