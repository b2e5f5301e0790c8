import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'

const root = join(import.meta.dirname, '..')
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
let project
before(() => {
  project = mkdtempSync(join(tmpdir(), 'rescind-node-project-'))
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n')
  // It needs nothing else, so nothing else may be fetched.
  execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', '--silent', process.env.RESCIND_TARBALL], { cwd: project })
})
after(() => rmSync(project, { recursive: true, force: true }))

const run = (command, args) => {
  try {
    return execFileSync(command, args, { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] }).toString()
  } catch (err) {
    return assert.fail(`${args.join(' ')}\n${err.stdout}${err.stderr}`)
  }
}

function take(from, ...names) {
  for (const name of names) {
    mkdirSync(join(project, 'node_modules', dirname(name)), { recursive: true })
    rmSync(join(project, 'node_modules', name), { force: true })
    symlinkSync(join(from, 'node_modules', name), join(project, 'node_modules', name))
  }
}

function compile(module, files, ...more) {
  for (const f of files) cpSync(join(import.meta.dirname, 'project', f.replace('nest.cts', 'nest.mts')), join(project, f))
  run(process.execPath, [tsc, '--strict', '--module', module, '--target', 'es2022', '--types', 'node', ...more, ...files])
}

test('nothing but the package is installed', () => {
  assert.deepEqual(readdirSync(join(project, 'node_modules')).filter(n => !n.startsWith('.')), ['@rescind'])
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json')))
  assert.equal(dependencies, undefined)
  const files = readdirSync(join(project, 'node_modules', '@rescind', 'node'))
  assert.deepEqual(files.sort(), ['LICENSE', 'README.md', 'dist', 'package.json'])
})

test('it runs by import and by require', () => {
  const entry = kind => `const o = { url: 'http://127.0.0.1:9', clientId: 'a', clientSecret: 'b' }; console.log('${kind}', typeof main.rescind(o).check, typeof express.rescind(o).logout())`
  assert.equal(run(process.execPath, ['--input-type=module', '-e', `import * as main from '@rescind/node'; import * as express from '@rescind/node/express'; ${entry('esm')}`]), 'esm function function\n')
  assert.equal(run(process.execPath, ['--input-type=commonjs', '-e', `const main = require('@rescind/node'), express = require('@rescind/node/express'); ${entry('cjs')}`]), 'cjs function function\n')
})

test('types and programs, as ES module and CommonJS, the libraries\' own types checked too', () => {
  take(root, '@types/node', 'undici-types')
  for (const module of ['nodenext', 'node16']) {
    compile(module, ['esm.mts', 'cjs.cts'])
    for (const file of ['esm.mjs', 'cjs.cjs']) {
      const said = run(process.execPath, [file])
      assert.match(said, /^(function\n){5}InvalidError\n(function|object) function\n$/, file)
    }
  }
  compile('nodenext', ['esm.mts'], '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess')
})

test('an Express application type-checks', () => {
  take(root, 'express', ...readdirSync(join(root, 'node_modules', '@types')).filter(n => n !== 'node').map(n => '@types/' + n))
  compile('nodenext', ['app.mts'])
})

test('a NestJS application type-checks and loads, 12 and 11', () => {
  for (const from of [root, join(import.meta.dirname, 'nest11')]) {
    take(from, '@nestjs/common', '@nestjs/core', 'reflect-metadata', 'rxjs')
    const decorators = ['--experimentalDecorators', '--emitDecoratorMetadata', '--skipLibCheck']
    compile('nodenext', ['nest.mts', 'nest.cts'], ...decorators)
    for (const file of ['nest.mjs', 'nest.cjs']) assert.equal(run(process.execPath, [file]), 'function\n', file)
    compile('node16', ['nest.mts'], ...decorators)
  }
})

test('lock files say what packages must be, and not where they come from', () => {
  for (const lock of ['package-lock.json', 'test/nest11/package-lock.json']) {
    const { packages } = JSON.parse(readFileSync(join(root, lock)))
    const listed = Object.entries(packages).filter(([name]) => name)
    assert.ok(listed.length > 10)
    for (const [name, p] of listed) {
      assert.equal(p.resolved, undefined, name)
      assert.match(p.integrity ?? '', /^sha512-/, name)
    }
  }
})
