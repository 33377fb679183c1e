// Runs steps of Python in MicroPython for WebAssembly (32 bit) and says how much heap is in use after each.
// stdin: {"module": path of micropython.mjs, "files": {path: base64}, "steps": [source, ...]}
// stdout: what the steps print, and after each one a line "@heap <bytes in use>".
import { readFileSync } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const { loadMicroPython } = await import(job.module);
const mp = await loadMicroPython({
    heapsize: 1024 * 1024,
    linebuffer: true,
    stdout: (line) => console.log(line),
});
for (const [path, content] of Object.entries(job.files)) {
    for (let at = path.indexOf("/", 1); at > 0; at = path.indexOf("/", at + 1)) {
        try { mp.FS.mkdir(path.slice(0, at)); } catch (exists) { }
    }
    mp.FS.writeFile(path, Buffer.from(content, "base64"));
}
mp.runPython("import gc");
const measure = () => {
    // The collector frees nothing that the running call's stack may still name, so it gets a call of its own.
    mp.runPython("gc.collect()");
    mp.runPython("gc.collect()");
    mp.runPython("print('@heap', gc.mem_alloc())");
};
measure();
try {
    for (const step of job.steps) {
        mp.runPython(step);
        measure();
    }
} catch (error) {
    // Node would print the whole of micropython.mjs before the reason.
    console.log(error.message);
    process.exitCode = 1;
}
