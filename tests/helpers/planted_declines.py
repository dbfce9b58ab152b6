"""What a model may write that does not understand a sentence: in plain words, without an apology.

Shares no code with the gates.
"""

NOT_KNOWING = {
    "en": "I do not know what this means.",
    "de": "Ich weiß nicht, was das bedeutet.",
    "fr": "Je ne sais pas ce que cela veut dire.",
    "zh": "我不知道这是什么意思。",
    "ja": "これが何を意味するのか私にはわかりません。",
    "ru": "Я не знаю, что это значит.",
    "ko": "이게 무슨 뜻인지 모르겠습니다.",
    "ar": "لا أعرف ماذا يعني هذا.",
    "da": "Jeg ved ikke, hvad det betyder.",
    "nb": "Jeg vet ikke hva dette betyr.",
    "sv": "Jag vet inte vad det betyder.",
    "id": "Saya tidak tahu apa artinya ini.",
    "ms": "Saya tidak tahu maksudnya.",
    "cs": "Nevím, co to znamená.",
    "pl": "Nie wiem, co to znaczy.",
    "pt": "Não sei o que isto significa.",
    "es": "No sé qué significa esto.",
    "hr": "Ne znam što to znači.",
    "uk": "Не знаю, що це означає.",
    "it": "Non so cosa significhi.",
}
NOT_UNDERSTOOD = {
    "en": "This sentence cannot be understood.",
    "de": "Dieser Satz ist nicht zu verstehen.",
    "fr": "Cette phrase ne peut pas être comprise.",
    "zh": "这个句子无法理解。",
    "ja": "この文は理解できません。",
    "ru": "Это предложение невозможно понять.",
    "ko": "이 문장은 이해할 수 없습니다.",
    "ar": "لا يمكن فهم هذه الجملة.",
    "da": "Denne sætning er uforståelig.",
    "nb": "Denne setningen er uforståelig.",
    "sv": "Den här meningen är obegriplig.",
    "id": "Kalimat ini tidak dapat dipahami.",
    "ms": "Ayat ini tidak dapat difahami.",
    "cs": "Tato věta je nesrozumitelná.",
    "pl": "Tego zdania nie da się zrozumieć.",
    "pt": "Esta frase é incompreensível.",
    "es": "Esta frase no se entiende.",
    "hr": "Ova rečenica je nerazumljiva.",
    "uk": "Це речення незрозуміле.",
    "it": "Questa frase è incomprensibile.",
}
