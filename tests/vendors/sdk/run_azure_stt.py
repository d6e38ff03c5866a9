"""azure-cognitiveservices-speech: one continuous recognition. Argument: address. Audio (16 kHz) on standard input."""

import json
import os
import sys
import threading

import azure.cognitiveservices.speech as speech


def main(url: str, pcm: bytes) -> dict[str, object]:
    config = speech.SpeechConfig(subscription=os.environ["VENDOR_KEY"], endpoint=f"{url}/stt/speech/universal/v2")
    config.speech_recognition_language = "en-US"
    config.output_format = speech.OutputFormat.Detailed
    config.request_word_level_timestamps()
    config.set_property(speech.PropertyId.Speech_SegmentationSilenceTimeoutMs, "300")
    stream = speech.audio.PushAudioInputStream(speech.audio.AudioStreamFormat(16000, 16, 1))
    recognizer = speech.SpeechRecognizer(config, speech.audio.AudioConfig(stream=stream))
    speech.PhraseListGrammar.from_recognizer(recognizer).addPhrase("clubs")
    over, told = threading.Event(), {"interims": [], "said": [], "words": [], "error": ""}

    def recognized(event: speech.SpeechRecognitionEventArgs) -> None:
        if event.result.reason == speech.ResultReason.RecognizedSpeech and event.result.text:
            told["said"].append(event.result.text)
            told["words"] += [word["Word"] for word in json.loads(event.result.json)["NBest"][0]["Words"]]

    def canceled(event: speech.SpeechRecognitionCanceledEventArgs) -> None:
        if event.cancellation_details.reason == speech.CancellationReason.Error:
            told["error"] = event.cancellation_details.error_details
        over.set()

    recognizer.recognizing.connect(lambda event: told["interims"].append(event.result.text))
    recognizer.recognized.connect(recognized)
    recognizer.canceled.connect(canceled)
    recognizer.session_stopped.connect(lambda event: over.set())
    recognizer.start_continuous_recognition_async().get()
    for at in range(0, len(pcm), 3200):
        stream.write(pcm[at : at + 3200])
    stream.close()
    over.wait(20)
    recognizer.stop_continuous_recognition_async().get()
    return told


print(json.dumps(main(sys.argv[1], sys.stdin.buffer.read())))
