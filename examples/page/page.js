// The tokens are in cookies that this script cannot read. What it knows of the
// session is what the server answers: 401 says that it has ended, 503 that
// nobody could know, and then nothing is thrown away.

const byId = id => document.getElementById(id)
const windows = new BroadcastChannel('session') // the other windows of this browser
const lookEvery = 2000 // ms; so much later another browser's logout is seen here
const stayAwake = 60_000 // ms without a key or a click, after which nobody is asked: checks would keep the session from idling out

let shown = '' // what is on the screen; nothing while nobody is logged in
let turn = 0 // answers to what was asked before come too late to be shown
let lastInput = performance.now()

class Ended extends Error {}
class Unknown extends Error {}

const send = (method, path, body) => fetch(path, {
  method,
  cache: 'no-store',
  ...(body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
}).catch(() => Response.error())

// Calls the API, and refreshes if it has to. Only a refused refresh says that the
// session has ended. One window refreshes at a time: two in a row would put a
// token between them that is refused as stolen if a third one still brings it. So
// whoever waited looks first whether the window before has brought new cookies.
async function call(method, path, body) {
  let answer = await send(method, path, body)
  if (answer.status === 401) {
    answer = await navigator.locks.request('refresh', async () => {
      const again = await send(method, path, body)
      if (again.status !== 401) return again
      const refreshed = await send('POST', 'refresh')
      if (refreshed.status === 401) throw new Ended()
      return refreshed.ok ? send(method, path, body) : refreshed
    })
  }
  if (!answer.ok) throw new Unknown(`This did not work (${answer.status || 'no connection'}). Try again in a moment.`)
  return answer.status === 204 ? undefined : answer.json()
}

// Does what a click asks for, and says what came of it.
async function act(work) {
  try {
    await work()
  } catch (err) {
    failed(err)
  }
}

function failed(err) {
  if (err instanceof Ended) leave(shown && 'Your session has ended. Log in again.')
  else if (err instanceof Unknown) say(err.message, true)
  else throw err
}

function say(text, bad = false) {
  byId('message').textContent = text
  byId('message').classList.toggle('bad', bad)
}

// Takes everything of the user off the page, so that it is not in one that the
// back button brings back either, and lets no late answer put it there again.
function wipe() {
  turn++
  shown = ''
  for (const id of ['notes', 'devices', 'who']) byId(id).replaceChildren()
  for (const form of document.forms) form.reset()
  for (const id of ['inside', 'who', 'login']) byId(id).hidden = true
}

function leave(text) {
  wipe()
  byId('login').hidden = false
  say(text)
  byId('user').focus()
}

async function look() {
  const mine = ++turn
  try {
    const me = await call('GET', 'api/me')
    const lists = await Promise.all(['api/notes', 'api/devices'].map(path => call('GET', path)))
    if (mine === turn) show(me, ...lists)
  } catch (err) {
    if (mine === turn) failed(err)
  }
}

function show(me, notes, devices) {
  const now = JSON.stringify([me, notes, devices])
  if (now === shown) return // and no button is taken away under a finger
  if (!shown) say('')
  shown = now
  const came = !byId('login').hidden
  byId('login').hidden = true
  byId('login').reset()
  byId('inside').hidden = byId('who').hidden = false
  if (came) byId('text').focus() // the field that had it is gone
  byId('who').textContent = me.subject
  byId('notes').replaceChildren(...rows(notes).map(note => item(note.text ?? note)))
  byId('devices').replaceChildren(...rows(devices).map(device => deviceItem(device, me)))
}

const rows = list => Array.isArray(list) ? list : Object.values(list).find(Array.isArray) ?? []

function item(text, ...more) {
  const li = document.createElement('li')
  const span = document.createElement('span')
  span.append(text)
  li.append(span, ...more)
  return li
}

function deviceItem(device, me) {
  const id = device.id ?? device.session
  const here = device.current ?? id === me.session
  const small = document.createElement('small')
  small.textContent = (here ? 'this one, ' : '') + 'last used ' + new Date(device.last_active_at ?? Date.now()).toLocaleString()
  const end = document.createElement('button')
  end.type = 'button'
  end.textContent = 'End this one'
  end.addEventListener('click', () => act(async () => {
    end.disabled = true
    await call('DELETE', 'api/devices/' + encodeURIComponent(id))
    windows.postMessage('ended')
    look()
  }))
  const name = device.device?.name || browserName(device.device?.user_agent)
  end.ariaLabel = 'End this one: ' + name
  const li = item(name, end)
  li.firstChild.append(small)
  return li
}

function browserName(agent = '') {
  const browser = /(Firefox|Edg|Chrome|Safari|curl)/.exec(agent)?.[0].replace('Edg', 'Edge') ?? 'Unknown browser'
  const system = /(Windows|Android|iPhone|Mac OS|Linux)/.exec(agent)?.[0]
  return system ? `${browser} on ${system}` : browser
}

byId('login').addEventListener('submit', event => {
  event.preventDefault()
  const { user, password } = Object.fromEntries(new FormData(event.target))
  act(async () => {
    const answer = await send('POST', 'login', { user, password, cookies: true })
    if (answer.status === 401) return say('That is not the password.', true)
    if (!answer.ok) throw new Unknown('Nobody can log in at the moment. Try again.')
    windows.postMessage('began')
    look()
  })
})

byId('write').addEventListener('submit', event => {
  event.preventDefault()
  const text = byId('text').value
  act(async () => {
    await call('POST', 'api/notes', { text })
    byId('write').reset()
    look()
  })
})

for (const path of ['logout', 'logout-all']) {
  byId(path).addEventListener('click', () => act(async () => {
    const answer = await send('POST', path)
    if (answer.ok) leave('You are logged out.')
    // To end the others takes a session that stands.
    else if (answer.status === 401) leave('Your session had ended before. To end all others, log in again.')
    else throw new Unknown('It is not certain that you are logged out. Try again.')
    windows.postMessage('ended')
  }))
}

// What another window says is a hint: the server knows.
windows.addEventListener('message', look)
addEventListener('focus', look)
addEventListener('online', look)
document.addEventListener('visibilitychange', () => document.hidden || look())

for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, () => { lastInput = performance.now() }, { capture: true, passive: true })
setInterval(() => {
  if (shown && !document.hidden && performance.now() - lastInput < stayAwake) look()
}, lookEvery)

// A page that comes back from the browser's memory begins anew, empty.
addEventListener('pagehide', wipe)
addEventListener('pageshow', look)
