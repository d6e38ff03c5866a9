"""azure-cognitiveservices-speech: two texts spoken, the second as SSML. Argument: address."""

import base64
import json
import os
import sys

import azure.cognitiveservices.speech as speech

SSML = (
    '<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xmlns:mstts="https://www.w3.org/2001/mstts" '
    'xml:lang="en-US"><voice name="en-US-AvaNeural"><mstts:express-as style="cheerful"><prosody rate="+10%">Goodbye.'
    "</prosody></mstts:express-as></voice></speak>"
)


def main(url: str) -> dict[str, object]:
    endpoint = f"{url}/tts/cognitiveservices/websocket/v1"
    config = speech.SpeechConfig(subscription=os.environ["VENDOR_KEY"], endpoint=endpoint)
    config.set_speech_synthesis_output_format(speech.SpeechSynthesisOutputFormat.Raw24Khz16BitMonoPcm)
    config.speech_synthesis_voice_name = "en-US-AvaNeural"
    synthesizer = speech.SpeechSynthesizer(speech_config=config, audio_config=None)
    told = {"spoken": [], "errors": []}
    speak_text, speak_ssml = synthesizer.speak_text_async, synthesizer.speak_ssml_async
    for speak, text in ((speak_text, "Your table is < booked & paid."), (speak_ssml, SSML)):
        result = speak(text).get()  # one after the other: asked together, either may be sent first
        told["spoken"].append(base64.b64encode(result.audio_data or b"").decode())
        if result.reason != speech.ResultReason.SynthesizingAudioCompleted:
            told["errors"].append(str(result.cancellation_details.error_details))
    return told


print(json.dumps(main(sys.argv[1])))
