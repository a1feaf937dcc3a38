/** Takes a picture with the camera of this machine. */

import { html, useEffect, useRef, useState } from "../html.js";
import { Dialog } from "../parts/dialog.js";

/** Browsers give a camera only to pages of this machine and of HTTPS. */
export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export function Camera({ onPicture, onClose }) {
  const video = useRef(null);
  const [problem, setProblem] = useState(null);
  const [running, setRunning] = useState(false);
  useEffect(() => {
    let stream = null;
    let closed = false;
    const stop = () => stream?.getTracks().forEach((track) => track.stop());
    navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }).then((found) => {
      stream = found;
      if (closed) return stop();
      video.current.srcObject = stream;
      return video.current.play().then(() => setRunning(true));
    }).catch(({ name }) => {
      const isRefused = name === "NotAllowedError";
      setProblem(isRefused ? "The browser was not allowed to use the camera." : "No camera was found.");
    });
    return () => {
      closed = true;
      stop();
    };
  }, []);
  const take = () => {
    const { videoWidth: width, videoHeight: height } = video.current;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(video.current, 0, 0);
    const name = `camera ${new Date().toLocaleTimeString("en-GB")}.jpg`;
    canvas.toBlob((blob) => onPicture(new File([blob], name, { type: "image/jpeg" })), "image/jpeg", 0.95);
  };
  return html`
    <${Dialog} title="Camera" onClose=${onClose}>
      ${problem
        ? html`<p class="notice" role="alert">${problem}</p>`
        : html`<video class="camera" ref=${video} muted playsinline></video>`}
      <p class="row end">
        <button type="button" class="strong" disabled=${!running} onClick=${take}>Take the picture</button>
      </p>
    <//>`;
}
