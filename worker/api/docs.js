// Sends the requests that a reader tries. A change is confirmed first.
'use strict'
const token = document.querySelector('#token')
token.hidden = false
for (const details of document.querySelectorAll('details.try')) {
  details.hidden = false
  details.querySelector('form').addEventListener('submit', send)
}

async function send(event) {
  event.preventDefault()
  const form = event.target, output = form.querySelector('output'), method = form.dataset.method
  let path = form.dataset.path
  const query = new URLSearchParams(), headers = {}
  for (const input of form.querySelectorAll('input')) {
    const { in: place, deep } = input.dataset, name = input.name, value = input.value
    if (value === '') continue
    if (place === 'path') path = path.replace('{' + name + '}', encodeURIComponent(value))
    else if (place === 'header') headers[name] = value
    else if (deep) for (const [k, v] of new URLSearchParams(value)) query.append(`${name}[${k}]`, v)
    else query.append(name, value)
  }
  if (path.includes('{')) return void (output.textContent = 'A value of the path is missing.')
  if (method !== 'GET' && !confirm(`Send ${method} ${path}? It may move money.`)) return
  const secret = token.querySelector('input').value
  if (secret !== '') headers.Authorization = 'Bearer ' + secret
  const body = form.querySelector('textarea')?.value
  if (body) headers['Content-Type'] = 'application/json'
  if (query.size > 0) path += '?' + query
  output.textContent = 'Waiting for the response.'
  try {
    const response = await fetch(path, { method, headers, body: body || undefined, redirect: 'error' })
    let text = await response.text()
    try { text = JSON.stringify(JSON.parse(text), null, 2) } catch {}
    output.textContent = `${response.status} ${response.statusText}\n${text.slice(0, 100000)}`
  } catch (error) {
    output.textContent = `No response: ${error.message}`
  }
}
