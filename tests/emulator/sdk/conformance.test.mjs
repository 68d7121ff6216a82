// SPDX-License-Identifier: Apache-2.0
// Google's own SDK against the emulator: what it sends must pass the emulator's checks, and what the emulator does must look to it like the service.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {createSign, generateKeyPairSync} from 'node:crypto';
import {once} from 'node:events';
import {writeFileSync} from 'node:fs';
import readline from 'node:readline';
import {after, before, describe, test} from 'node:test';
import {setTimeout as sleep} from 'node:timers/promises';
import {GoogleGenAI, Modality} from '@google/genai';

const binary = process.env.EMULATOR, cert = process.env.EMULATOR_CERT, key = process.env.EMULATOR_KEY;
// PATIENCE is for hangs, in ms: a machine may stand still for a while.
const MODEL = 'gemini-3.8-live', BYTES_PER_MS = 48, PATIENCE = 30000;

class Emulator {
	static async start(...options) {
		const emulator = new Emulator();
		emulator.process = spawn(binary, ['--cert', cert, '--key', key, '--stats-port', '0', '--api-key', 'key-a=admin2', '--api-key', 'key-b=agent4',
			'--api-key', 'auth_tokens/x=token', ...options], {stdio: ['ignore', 'pipe', 'inherit']});
		for await (const line of readline.createInterface({input: emulator.process.stdout})) {
			const [, what, port] = line.match(/^(statistics|listening) on port (\d+)$/);
			emulator[what] = Number(port);
			if (what === 'listening')
				break;
		}
		return emulator;
	}

	client(apiKey = 'key-a', apiVersion = undefined) {
		return new GoogleGenAI({apiKey, apiVersion, httpOptions: {baseUrl: `https://127.0.0.1:${this.listening}`}});
	}

	async stats() {
		return (await fetch(`http://127.0.0.1:${this.statistics}/stats`)).json();
	}

	async stop() {
		this.process.kill('SIGTERM');
		const [status] = await once(this.process, 'exit');
		assert.equal(status, 0);
	}
}

// A session with everything it received, in order, with the time it came.
class Call {
	static async connect(emulator, {apiKey, apiVersion, client, model = MODEL, config = {}} = {}) {
		const call = new Call();
		call.messages = [];
		call.waiters = new Set();
		call.session = await (client ?? emulator.client(apiKey, apiVersion)).live.connect({
			model,
			config: {responseModalities: [Modality.AUDIO], outputAudioTranscription: {}, inputAudioTranscription: {}, ...config},
			callbacks: {
				onmessage: (message) => call.take({...message, at: performance.now(), data: message.data}),
				onclose: (event) => call.take({closed: event, at: performance.now()}),
				onerror: () => {},
			},
		});
		return call;
	}

	take(message) {
		this.messages.push(message);
		this.waiters.forEach((waiter) => waiter());
	}

	// The first message from index `from` on for which `test` holds, and its index.
	async until(test, what, timeout = PATIENCE, from = 0) {
		const deadline = performance.now() + timeout;
		for (;;) {
			const index = this.messages.findIndex((message, i) => i >= from && test(message));
			if (index >= 0)
				return index;
			const left = deadline - performance.now();
			assert.ok(left > 0, `${what} never came; got ${JSON.stringify(this.messages.map((m) => ({...m, data: m.data?.length}))).slice(-2000)}`);
			let waiter;
			await Promise.race([new Promise((resolve) => this.waiters.add(waiter = resolve)), sleep(left)]);
			this.waiters.delete(waiter);
		}
	}

	turn(from = 0) {
		return this.until((m) => m.serverContent?.turnComplete, 'turnComplete', PATIENCE, from);
	}

	closed(timeout) {
		return this.until((m) => m.closed, 'close', timeout).then((i) => this.messages[i].closed);
	}

	audio(from = 0, to = undefined) {
		return this.messages.slice(from, to).filter((m) => m.data).map((m) => Buffer.from(m.data, 'base64'));
	}

	// Real time, 40 ms a message. `pcm` at `rate`.
	async say(pcm, rate = 16000) {
		const step = rate * 2 / 25;
		const start = performance.now();
		for (let at = 0, n = 0; at < pcm.length; at += step, n++) {
			this.session.sendRealtimeInput({audio: {data: pcm.subarray(at, at + step).toString('base64'), mimeType: `audio/pcm;rate=${rate}`}});
			await sleep(Math.max(0, start + (n + 1) * 40 - performance.now()));
		}
	}

	async close() {
		this.session.close();
		await this.closed();
	}
}

// Syllables of harmonics with a gliding pitch, 200 ms each with 40 ms between.
function speech(ms, rate = 16000) {
	const pcm = Buffer.alloc(ms * rate / 1000 * 2);
	for (let i = 0; i < pcm.length / 2; i++) {
		const t = i / rate, syllable = t % 0.24;
		const envelope = syllable < 0.2 ? Math.sin(Math.PI * syllable / 0.2) : 0;
		let sum = 0;
		for (let h = 1; h <= 8; h++)
			sum += Math.sin(2 * Math.PI * h * (120 + 20 * Math.sin(3 * t)) * t) / h;
		pcm.writeInt16LE(Math.round(envelope * 5000 * sum), i * 2);
	}
	return pcm;
}

const silence = (ms, rate = 16000) => Buffer.alloc(ms * rate / 1000 * 2);

describe('a healthy service', () => {
	let emulator;
	before(async () => {
		emulator = await Emulator.start('--answer-ms', '2000', '--answer-text', 'admin2=Good morning, this is the answer.', '--transcript', 'admin2=I would like to order.');
	});
	after(() => emulator.stop());

	test('setup', async () => {
		for (const apiVersion of [undefined, 'v1', 'v1beta', 'v1alpha']) {
			const call = await Call.connect(emulator, {apiVersion});
			assert.deepEqual(call.session.setupComplete ?? call.messages[0].setupComplete, {});
			await call.close();
		}
		const {keys} = await emulator.stats();
		assert.equal(keys.admin2.setups, 4);
		assert.equal(keys.admin2.closes['1005'], 4);
		assert.equal(keys.agent4.connections, 0);
	});

	test('an ephemeral token', async () => {
		const call = await Call.connect(emulator, {apiKey: 'auth_tokens/x', apiVersion: 'v1alpha'});
		await call.close();
		assert.equal((await emulator.stats()).keys.token.setups, 1);
	});

	test('everything a telephone needs in setup', async () => {
		const call = await Call.connect(emulator, {config: {
			systemInstruction: 'You answer the telephone.',
			temperature: 0.5, topP: 0.9, topK: 20, maxOutputTokens: 1000, seed: 5,
			speechConfig: {voiceConfig: {prebuiltVoiceConfig: {voiceName: 'Kore'}}},
			realtimeInputConfig: {
				automaticActivityDetection: {startOfSpeechSensitivity: 'START_SENSITIVITY_LOW', endOfSpeechSensitivity: 'END_SENSITIVITY_HIGH', prefixPaddingMs: 20, silenceDurationMs: 500},
				activityHandling: 'START_OF_ACTIVITY_INTERRUPTS', turnCoverage: 'TURN_INCLUDES_ONLY_ACTIVITY',
			},
			contextWindowCompression: {triggerTokens: '25600', slidingWindow: {targetTokens: '12800'}},
			sessionResumption: {},
			tools: [{functionDeclarations: [{name: 'transfer', description: 'Transfer the call', behavior: 'NON_BLOCKING',
				parameters: {type: 'OBJECT', properties: {to: {type: 'STRING', enum: ['sales', 'support']}}, required: ['to']}}]}, {googleSearch: {}}],
		}});
		await call.close();
	});

	for (const [name, send] of [
		['clientContent', (session) => session.sendClientContent({turns: 'Hello', turnComplete: true})],
		['realtime text', (session) => session.sendRealtimeInput({text: 'Greet the caller.'})],
	]) {
		test(`a turn by ${name}`, async () => {
			const call = await Call.connect(emulator);
			const sent = performance.now();
			send(call.session);
			const end = await call.turn();
			const first = call.messages.findIndex((m) => m.data), generated = call.messages.findIndex((m) => m.serverContent?.generationComplete);
			const audio = call.audio();
			const total = audio.reduce((sum, piece) => sum + piece.length, 0);
			assert.equal(total, 2000 * BYTES_PER_MS);
			assert.ok(audio.slice(0, -1).every((piece) => piece.length % 1920 === 0 && piece.length >= 7680 && piece.length <= 28800));
			assert.equal(call.messages[first].serverContent.modelTurn.parts[0].inlineData.mimeType, 'audio/pcm;rate=24000');
			const text = call.messages.map((m) => m.serverContent?.outputTranscription?.text ?? '').join('');
			assert.equal(text, 'Good morning, this is the answer.');
			assert.ok(generated > first && generated < end);
			const burst = call.messages[generated].at - sent, playback = call.messages[end].at - sent;
			// Half a second, and what the machine stood still.
			assert.ok(burst < 1700, `2 s of audio took ${burst} ms`);
			assert.ok(playback > 1900, `turnComplete after ${playback} ms`);
			const usage = call.messages[end].usageMetadata;
			assert.equal(usage.responseTokenCount, 50);
			assert.equal(usage.totalTokenCount, usage.promptTokenCount + usage.responseTokenCount);
			await call.close();
		});
	}

	for (const rate of [16000, 8000, 24000]) {
		test(`a spoken turn at ${rate} Hz`, async () => {
			const call = await Call.connect(emulator);
			const before = (await emulator.stats()).keys.admin2;
			await call.say(Buffer.concat([silence(200, rate), speech(1200, rate), silence(1600, rate)]), rate);
			const end = await call.turn();
			const start = call.messages.findIndex((m) => m.voiceActivity?.voiceActivityType === 'ACTIVITY_START');
			const stop = call.messages.findIndex((m) => m.voiceActivity?.voiceActivityType === 'ACTIVITY_END');
			const words = call.messages.findIndex((m) => m.serverContent?.inputTranscription);
			const first = call.messages.findIndex((m) => m.data);
			assert.ok(start >= 0 && start < stop && stop < words && words < first && first < end);
			assert.equal(call.messages[words].serverContent.inputTranscription.text, 'I would like to order.');
			const offset = Number(call.messages[start].voiceActivity.audioOffset.slice(0, -1));
			assert.ok(offset > 0.25 && offset < 0.6, `ACTIVITY_START at ${offset} s`);
			const stats = (await emulator.stats()).keys.admin2;
			assert.equal(stats.audio_bytes - before.audio_bytes, 3000 * rate / 500);
			assert.equal(stats.audio_ms - before.audio_ms, 3000);
			assert.equal(stats.utterances - before.utterances, 1);
			await call.close();
		});
	}

	test('audioStreamEnd ends the utterance', async () => {
		const call = await Call.connect(emulator);
		await call.say(speech(600));
		// Without it nothing would end: the emulator hears time pass in the audio alone.
		call.session.sendRealtimeInput({audioStreamEnd: true});
		await call.until((m) => m.data, 'audio');
		await call.close();
	});

	test('barge-in', async () => {
		const call = await Call.connect(emulator);
		call.session.sendClientContent({turns: 'Hello', turnComplete: true});
		await call.until((m) => m.serverContent?.generationComplete, 'generationComplete');
		const began = performance.now(), from = call.messages.length;
		const saying = call.say(Buffer.concat([speech(800), silence(1400)]));
		const cut = await call.until((m) => m.serverContent?.interrupted, 'interrupted', PATIENCE, from);
		const delay = call.messages[cut].at - began;
		assert.ok(delay > 80, `interrupted ${delay} ms after speech began`);
		assert.equal(call.messages[cut - 1].voiceActivity?.voiceActivityType, 'ACTIVITY_START');
		const complete = await call.turn(from);
		assert.ok(complete > cut && !call.messages.slice(from, complete).some((m) => m.data || m.serverContent?.generationComplete));
		await saying;
		await call.until((m) => m.data, 'the next answer', PATIENCE, complete);
		assert.equal((await emulator.stats()).keys.admin2.interruptions, 1);
		await call.close();
	});

	test('NO_INTERRUPTION lets the answer end', async () => {
		const call = await Call.connect(emulator, {config: {realtimeInputConfig: {activityHandling: 'NO_INTERRUPTION'}}});
		call.session.sendClientContent({turns: 'Hello', turnComplete: true});
		await call.until((m) => m.serverContent?.generationComplete, 'generationComplete');
		await call.say(Buffer.concat([speech(500), silence(1400)]));
		const first = await call.turn();
		await call.turn(first + 1);
		assert.ok(!call.messages.some((m) => m.serverContent?.interrupted));
		assert.equal(call.audio().reduce((sum, piece) => sum + piece.length, 0), 2 * 2000 * BYTES_PER_MS);
		await call.close();
	});

	test('explicit activity', async () => {
		const call = await Call.connect(emulator, {config: {realtimeInputConfig: {automaticActivityDetection: {disabled: true}}}});
		await call.say(speech(400));
		assert.ok(!call.messages.some((m) => m.voiceActivity));
		call.session.sendRealtimeInput({activityStart: {}});
		await call.say(speech(400));
		call.session.sendRealtimeInput({activityEnd: {}});
		await call.turn();
		await call.close();
	});

	test('resumption', async () => {
		const call = await Call.connect(emulator, {config: {sessionResumption: {}}});
		const update = await call.until((m) => m.sessionResumptionUpdate, 'sessionResumptionUpdate');
		const {newHandle: handle, resumable} = call.messages[update].sessionResumptionUpdate;
		assert.equal(resumable, true);
		assert.equal(handle.length, 36);
		const again = () => Call.connect(emulator, {config: {sessionResumption: {handle}}});
		await assert.rejects(again(), /1011.*Internal error encountered/s, 'the old socket is open');
		await call.close();
		await assert.rejects(again(), /1011/, 'closed while idle, a moment ago');
		await assert.rejects(Call.connect(emulator, {apiKey: 'key-b', config: {sessionResumption: {handle}}}), /1008.*session not found/s);
		await assert.rejects(Call.connect(emulator, {config: {sessionResumption: {handle: 'nonsense'}}}), /1008.*session not found/s);
		await sleep(1000);
		const resumed = await again();
		await resumed.until((m) => m.sessionResumptionUpdate?.newHandle, 'the new handle');
		const {keys} = await emulator.stats();
		assert.equal(keys.admin2.resumes, 1);
		assert.equal(keys.agent4.foreign_handles, 1);
		await resumed.close();
	});

	test('a seed of both sides, without and with a question at its end', async () => {
		const seed = [{role: 'user', parts: [{text: 'Hello?'}]}, {role: 'model', parts: [{text: 'Good morning.'}]}, {role: 'user', parts: [{text: 'Are you there?'}]}];
		const call = await Call.connect(emulator);
		const before = (await emulator.stats()).keys.admin2.turns;
		call.session.sendClientContent({turns: seed, turnComplete: false});
		await sleep(1200);
		assert.equal((await emulator.stats()).keys.admin2.turns, before);
		await call.say(Buffer.concat([speech(600), silence(1400)]));
		const first = await call.turn();
		call.session.sendClientContent({turns: seed, turnComplete: true});
		await call.turn(first + 1);
		await call.close();
	});

	test('seeds that a model does not take', async () => {
		for (const [model, role] of [['gemini-3.1-flash-live-preview', 'user'], ['gemini-2.5-flash-native-audio-latest', 'model']]) {
			const call = await Call.connect(emulator, {model});
			call.session.sendClientContent({turns: [{role, parts: [{text: 'Hello'}]}], turnComplete: false});
			assert.equal((await call.closed()).code, 1007);
		}
	});

	test('goAway is answered by a new connection that goes on', async () => {
		const call = await Call.connect(emulator, {config: {sessionResumption: {}}});
		const update = await call.until((m) => m.sessionResumptionUpdate, 'handle');
		const {newHandle: handle} = call.messages[update].sessionResumptionUpdate;
		await (await fetch(`http://127.0.0.1:${emulator.statistics}/control?now=go-away:50000`)).json();
		const at = await call.until((m) => m.goAway, 'goAway');
		assert.equal(call.messages[at].goAway.timeLeft, '50s');
		await call.close();
		await sleep(1100);
		const resumed = await Call.connect(emulator, {config: {sessionResumption: {handle}}});
		resumed.session.sendClientContent({turns: 'Go on', turnComplete: true});
		await resumed.turn();
		assert.ok(resumed.audio().length > 0);
		await resumed.close();
	});

	test('what setup must not say', async () => {
		for (const [what, expected] of [
			[{apiKey: 'wrong'}, /1007.*API key not valid/s],
			[{model: 'gemini-2.0-flash'}, /1008.*models\/gemini-2.0-flash is not found for API version v1,/s],
			[{config: {responseModalities: [Modality.TEXT]}}, /1007.*The requested combination of response modalities \(TEXT\)/s],
			[{config: {speechConfig: {voiceConfig: {prebuiltVoiceConfig: {voiceName: 'alloy'}}}}}, /1007.*No matching speaker voice found for name: alloy/s],
			[{config: {proactivity: {proactiveAudio: true}}}, /1007.*Unknown name "proactivity" at 'setup'/s],
			[{config: {safetySettings: [{category: 'HARM_CATEGORY_HARASSMENT', threshold: 'BLOCK_NONE'}]}}, /1007.*Unknown name "safetySettings" at 'setup'/s],
			[{config: {thinkingConfig: {thinkingLevel: 'LOW'}}}, /1007/],
			[{config: {speechConfig: {languageCode: 'de-DE'}}}, /1007/],
			[{model: 'gemini-3.8-live-extended-thinking'}, /1007.*Thinking level must be specified/s],
			[{config: {realtimeInputConfig: {automaticActivityDetection: {startOfSpeechSensitivity: 'START_SENSITIVITY_MEDIUM'}}}}, /1007.*Invalid value at/s],
		])
			await assert.rejects(Call.connect(emulator, what), expected);
	});

	test('what a session must not say', async () => {
		for (const [say, expected] of [
			[(s) => s.sendRealtimeInput({activityStart: {}}), /Explicit activity control is not supported when automatic activity detection is enabled/],
			[(s) => s.sendRealtimeInput({media: {data: 'AAAA', mimeType: 'audio/pcm;rate=16000'}}), /media_chunks/],
			[(s) => s.sendRealtimeInput({audio: {data: 'AAAA', mimeType: 'audio/opus'}}), /Request contains an invalid argument/],
			[(s) => s.sendRealtimeInput({audio: {data: 'AAAA', mimeType: 'audio/pcm;rate=16000'}}), /Request contains an invalid argument/],
			[(s) => s.conn.send('{"setup":{"model":"models/gemini-3.8-live"}}'), /setup must be the first message and only the first/],
			[(s) => s.conn.send('{"realtimeInput":{"turnComplete":true}}'), /Unknown name "turnComplete" at 'realtime_input'/],
			[(s) => s.conn.send('{'), /Invalid JSON payload received\. Unexpected token\./],
		]) {
			const call = await Call.connect(emulator);
			say(call.session);
			const event = await call.closed();
			assert.equal(event.code, 1007);
			assert.match(event.reason.toString(), expected);
		}
		const old = await Call.connect(emulator, {model: 'gemini-2.5-flash-native-audio-preview-09-2025'});
		old.session.sendRealtimeInput({media: {data: 'AAAAAA==', mimeType: 'audio/pcm;rate=16000'}});
		old.session.sendRealtimeInput({text: 'still there?'});
		await old.until((m) => m.data, 'audio');
		await old.close();
	});
});

describe('faults', () => {
	async function with_emulator(options, body) {
		const emulator = await Emulator.start(...options);
		try {
			await body(emulator);
		} finally {
			await emulator.stop();
		}
	}

	test('tool call', () => with_emulator(['--tool-call', 'transfer', '--answer-ms', '500'], async (emulator) => {
		const call = await Call.connect(emulator, {config: {tools: [{functionDeclarations: [{name: 'transfer', description: 'x'}]}]}});
		call.session.sendClientContent({turns: 'Sales, please', turnComplete: true});
		const at = await call.until((m) => m.toolCall, 'toolCall');
		const {id, name} = call.messages[at].toolCall.functionCalls[0];
		assert.equal(name, 'transfer');
		assert.match(id, /^call_\d{6}$/);
		await call.turn();
		assert.equal(call.audio().length, 0);
		call.session.sendToolResponse({functionResponses: [{id, name, response: {output: 'queued'}}]});
		await call.until((m) => m.data, 'the answer');
		assert.equal((await emulator.stats()).keys.admin2.tool_responses, 1);
		await call.close();
	}));

	test('a tool call that is cancelled', () => with_emulator(['--tool-call', 'transfer', '--tool-cancel', '--answer-ms', '500'], async (emulator) => {
		const call = await Call.connect(emulator, {config: {tools: [{functionDeclarations: [{name: 'transfer', description: 'x', behavior: 'BLOCKING'}]}]}});
		call.session.sendClientContent({turns: 'Sales, please', turnComplete: true});
		const at = await call.until((m) => m.toolCall, 'toolCall');
		await call.say(Buffer.concat([speech(600), silence(1400)]));
		const cancelled = await call.until((m) => m.toolCallCancellation, 'toolCallCancellation');
		assert.deepEqual(call.messages[cancelled].toolCallCancellation.ids, [call.messages[at].toolCall.functionCalls[0].id]);
		await call.until((m) => m.data, 'an answer to what was said');
		await call.close();
	}));

	test('a tool call is answered on the next connection', () => with_emulator(['--tool-call', 'transfer', '--strict-tool-ids', '--resume-lock-ms', '0', '--answer-ms', '500'], async (emulator) => {
		const config = {tools: [{functionDeclarations: [{name: 'transfer', description: 'x'}]}], sessionResumption: {}};
		const call = await Call.connect(emulator, {config});
		call.session.sendClientContent({turns: 'Sales, please', turnComplete: true});
		const at = await call.until((m) => m.toolCall, 'toolCall');
		const {id, name} = call.messages[at].toolCall.functionCalls[0];
		const handle = call.messages.find((m) => m.sessionResumptionUpdate).sessionResumptionUpdate.newHandle;
		await call.close();
		const resumed = await Call.connect(emulator, {config: {...config, sessionResumption: {handle}}});
		resumed.session.sendToolResponse({functionResponses: [{id, name, response: {output: 'queued'}}]});
		await resumed.until((m) => m.data, 'the answer');
		await resumed.close();
	}));

	test('goAway, then 1008', () => with_emulator(['--lifetime-ms', '1500', '--go-away-ms', '1000'], async (emulator) => {
		const call = await Call.connect(emulator);
		const at = await call.until((m) => m.goAway, 'goAway');
		assert.equal(call.messages[at].goAway.timeLeft, '1s');
		const event = await call.closed();
		assert.equal(event.code, 1008);
		assert.match(event.reason.toString(), /^Connection aborted because the client failed to close the connection after receiving a GoAway signal/);
		assert.ok(event.reason.length <= 123);
	}));

	test('refused upgrade', () => with_emulator(['--http-status', '429'], async (emulator) => {
		await assert.rejects(Call.connect(emulator), /429/);
	}));

	test('quota', () => with_emulator(['--quota-close'], async (emulator) => {
		await assert.rejects(Call.connect(emulator), /1011.*You exceeded your current quota/s);
	}));

	test('fragments and text frames', () => with_emulator(['--fragment', '--text-frames', '--odd-chunks', '--answer-ms', '500'], async (emulator) => {
		const call = await Call.connect(emulator);
		call.session.sendRealtimeInput({text: 'Hello'});
		await call.turn();
		const audio = Buffer.concat(call.audio());
		assert.equal(audio.length, 500 * BYTES_PER_MS);
		await call.close();
	}));

	test('a refused resumption', () => with_emulator(['--refuse-resume', '2', '--resume-lock-ms', '0'], async (emulator) => {
		const call = await Call.connect(emulator, {config: {sessionResumption: {}}});
		const at = await call.until((m) => m.sessionResumptionUpdate, 'handle');
		const {newHandle: handle} = call.messages[at].sessionResumptionUpdate;
		await call.close();
		for (let i = 0; i < 2; i++)
			await assert.rejects(Call.connect(emulator, {config: {sessionResumption: {handle}}}), /1011/);
		await (await Call.connect(emulator, {config: {sessionResumption: {handle}}})).close();
	}));
});

// Vertex AI: an assertion signed by Node's own crypto, the token endpoint, and the SDK with the token.
describe('Vertex AI', () => {
	const {publicKey, privateKey} = generateKeyPairSync('rsa', {modulusLength: 2048, publicKeyEncoding: {type: 'spki', format: 'pem'}, privateKeyEncoding: {type: 'pkcs8', format: 'pem'}});
	const other = generateKeyPairSync('rsa', {modulusLength: 2048, publicKeyEncoding: {type: 'spki', format: 'pem'}, privateKeyEncoding: {type: 'pkcs8', format: 'pem'}});
	const EMAIL = 'voice@project.iam.gserviceaccount.com', SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
	let emulator;
	before(async () => {
		writeFileSync('oauth.pub', publicKey);
		emulator = await Emulator.start('--oauth-key', 'oauth.pub', '--service-account', `${EMAIL}=account`, '--answer-ms', '500');
	});
	after(() => emulator.stop());

	function assertion(claims = {}, {header = {alg: 'RS256', typ: 'JWT'}, key = privateKey} = {}) {
		const now = Math.floor(Date.now() / 1000);
		const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
		const body = `${encode(header)}.${encode({iss: EMAIL, scope: SCOPE, aud: `https://127.0.0.1:${emulator.listening}/token`, iat: now, exp: now + 3600, ...claims})}`;
		return `${body}.${createSign('RSA-SHA256').update(body).sign(key).toString('base64url')}`;
	}

	async function token(jwt, grant_type = 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
		const answer = await fetch(`https://127.0.0.1:${emulator.listening}/token`, {method: 'POST', body: new URLSearchParams({grant_type, assertion: jwt})});
		return {status: answer.status, ...await answer.json()};
	}

	const client = (bearer) => new GoogleGenAI({vertexai: true, httpOptions: {
		baseUrl: `https://127.0.0.1:${emulator.listening}/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent`, headers: {Authorization: `Bearer ${bearer}`}}});

	test('a call with a token', async () => {
		const {status, access_token, expires_in, token_type} = await token(assertion());
		assert.deepEqual([status, expires_in, token_type], [200, 3600, 'Bearer']);
		const call = await Call.connect(emulator, {client: client(access_token)});
		call.session.sendClientContent({turns: 'Hello', turnComplete: true});
		const end = await call.turn();
		const first = call.messages.find((m) => m.data);
		assert.equal(first.serverContent.modelTurn.role, 'model');
		assert.equal(first.serverContent.modelTurn.parts[0].inlineData.mimeType, 'audio/pcm');
		assert.ok(call.messages[end].usageMetadata.responseTokenCount > 0, JSON.stringify(call.messages[end]));
		await call.close();
		const {account} = (await emulator.stats()).keys;
		assert.deepEqual([account.tokens, account.connections, account.invalid_messages], [1, 1, 0]);
	});

	test('assertions that are refused', async () => {
		const now = Math.floor(Date.now() / 1000);
		for (const [jwt, error, description] of [
			[assertion({}, {key: other.privateKey}), 'invalid_grant', /Invalid JWT Signature/],
			[assertion({}, {header: {alg: 'none', typ: 'JWT'}}), 'invalid_grant', /Unsupported/],
			[assertion({iss: 'nobody@x'}), 'invalid_grant', /account not found/],
			[assertion({aud: 'https://oauth2.example/token'}), 'invalid_grant', /audience/],
			[assertion({iat: now - 8000, exp: now - 4400}), 'invalid_grant', /iat and exp/],
			[assertion({exp: now + 7200}), 'invalid_grant', /iat and exp/],
			[assertion({iat: now + 1000, exp: now + 2000}), 'invalid_grant', /iat and exp/],
			[assertion({scope: 'email'}), 'invalid_scope', /scope/],
			['nonsense', 'invalid_request', /./],
		]) {
			const answer = await token(jwt);
			assert.equal(answer.status, 400);
			assert.equal(answer.error, error);
			assert.match(answer.error_description, description);
		}
		assert.equal((await token(assertion(), 'password')).error, 'unsupported_grant_type');
	});

	test('who has no good token is refused at the upgrade', async () => {
		await assert.rejects(Call.connect(emulator, {client: client('key-a')}), /401/);
		await assert.rejects(Call.connect(emulator, {client: client('ya29.nonsense')}), /401/);
		const {access_token} = await token(assertion());
		await (await Call.connect(emulator, {client: client(access_token)})).close();
		await (await fetch(`http://127.0.0.1:${emulator.statistics}/control?now=expire-tokens`)).json();
		await assert.rejects(Call.connect(emulator, {client: client(access_token)}), /401/);
	});
});
