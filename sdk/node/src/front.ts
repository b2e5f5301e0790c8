import { Client, type ClientOptions, clientOptions } from './client.js'
import { InvalidError, onlyKnown } from './errors.js'
import { type FlowOptions, Flows, flowOptions } from './flows.js'
import { type Want, list, words } from './values.js'

/** Options of an application: which server to call, and how to show itself. */
export interface RescindOptions extends ClientOptions, FlowOptions {}

/** What a route needs of a token. Every scope is needed; one audience is enough. */
export interface Need {
  scope?: string | readonly string[]
  /** Default: the audience of the options. */
  audience?: string | readonly string[]
}

/** Takes options apart into a client and the flows over it. */
export function assemble(options: RescindOptions): { client: Client; flows: Flows } {
  onlyKnown('rescind', options, [...clientOptions, ...flowOptions])
  const pick = (names: readonly string[]): object => Object.fromEntries(Object.entries(options).filter(([name]) => names.includes(name)))
  const client = new Client(pick(clientOptions))
  return { client, flows: new Flows(client, client, pick(flowOptions)) }
}

/** Reads what a route needs: one that was misunderstood would protect less than was meant. */
export function need(what: string, given: Need): Want {
  onlyKnown(what, given, ['scope', 'audience'])
  for (const value of [given.scope, given.audience]) {
    if (value !== undefined && !list(value).every(v => typeof v === 'string' && v.trim() !== '')) throw new InvalidError(`${what}: a scope or audience is a text, or a list of them`)
    if (Array.isArray(value) && value.length === 0) throw new InvalidError(`${what}: an empty list asks for nothing`)
  }
  const want: Want = { scope: words(given.scope) }
  if (given.audience !== undefined) want.audience = given.audience
  return want
}
