// Types of expressions, one policy a line of standard input: {"variables": [[name, expression], …], "expressions": [expression, …]}.
// Writes for each {"variables": {name: type}, "expressions": [type, …]}; a type error in the place of a type is {"error": words}.
import { createInterface } from 'node:readline'
import { Environment } from '@marcbachmann/cel-js'

class Patch {}
class Struct {}
class Amount {}
class Variables {}

function environment(variables) {
  const cel = new Environment({
    homogeneousAggregateLiterals: true, // as in the API server
    unlistedVariablesAreDyn: false,
    limits: { maxAstNodes: 1e6, maxDepth: 1000, maxListElements: 1e4, maxMapEntries: 1e4, maxCallArguments: 100 },
  })
  cel.registerType('Patch', { ctor: Patch, fields: { op: 'string' } })
  cel.registerType('Struct', { ctor: Struct, fields: { name: 'string' } })
  cel.registerType('Amount', { ctor: Amount, fields: { text: 'string' } })
  cel.registerType('Variables', { ctor: Variables, fields: { '': 'dyn', ...variables } })
  cel.registerVariable('object', 'dyn')
  cel.registerVariable('namespaceObject', 'dyn')
  cel.registerVariable('variables', 'Variables')
  const signatures = [
    'asPatch(map<string, dyn>): Patch', 'asStruct(map<string, dyn>): Struct', 'asText(string): string',
    'list.indexOf(dyn): int', 'list<int>.max(): int', 'quantity(string): Amount', 'Amount.compareTo(Amount): int',
  ]
  for (const signature of signatures) cel.registerFunction(signature, () => { throw new Error('nothing is evaluated here') })
  return cel
}

function typeOf(expression, variables) {
  const checked = environment(variables).check(expression)
  return checked.valid ? String(checked.type) : { error: String(checked.error.message).split('\n')[0] }
}

for await (const line of createInterface({ input: process.stdin })) {
  const policy = JSON.parse(line)
  const types = {}
  const known = {} // what a later expression may lean on
  for (const [name, expression] of policy.variables) {
    types[name] = typeOf(expression, known)
    known[name] = typeof types[name] === 'string' ? types[name] : 'dyn'
  }
  console.log(JSON.stringify({ variables: types, expressions: policy.expressions.map((each) => typeOf(each, known)) }))
}
