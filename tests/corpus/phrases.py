"""How people of eight languages announce values, and what else they write about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """Labels by kind of value, sentences that hold a value, one that does not say what it holds, and idle ones."""

    greeting: str
    closing: str
    name: str
    person: str
    amount: str
    sentences: tuple[str, ...]
    bare: str
    idle: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]


LANGUAGES: Mapping[str, Language] = {
    "en": Language(
        "Dear Ms Palmer,",
        "Kind regards\nDaniel Moore\nT +44 20 7946 0###",
        "Alice Palmer",
        "Name",
        "Amount",
        (
            "As discussed, my {label} is {value}.",
            "Please use {label} {value} for the application.",
            "For your records, {label}: {value} as before.",
        ),
        "As promised: {value}.",
        (
            "Invoice no. 2024-##### over EUR 1,2##.50 is due on 15 March 2024.",
            "Your order 40##-##### has been shipped, tracking number 1Z99#AA1#########.",
            "The meeting takes place in room 4.1##, building #, from 9:30 to 11:00.",
            "You can reach me on +1 617-555-0##9 until Friday.",
            "See https://shop.example.com/t?id=84#######67##1&u=93####7 for details.",
            "Version 4.1#.2 of the report has ### pages, and page 1## is the one to read.",
        ),
        {
            "payment-card": ("credit card number", "card number", "Visa card"),
            "iban": ("IBAN", "bank account (IBAN)"),
            "date-of-birth": ("date of birth", "DOB"),
            "id-us-ssn": ("social security number", "SSN"),
            "id-gb-nhs": ("NHS number", "NHS no."),
            "id-ca-sin": ("social insurance number", "SIN"),
            "credential-password": ("password", "login password"),
            "credential-aws-access-key": ("AWS access key", "access key id"),
            "credential-github-token": ("GitHub token", "token"),
        },
    ),
    "de": Language(
        "Sehr geehrte Frau Weber,",
        "Mit freundlichen Grüßen\nThomas Krüger\nTelefon +49 30 901820-##",
        "Sabine Weber",
        "Name",
        "Betrag",
        (
            "Wie besprochen: meine {label} lautet {value}.",
            "Bitte verwenden Sie für den Antrag {label} {value}.",
            "Für Ihre Unterlagen: {label} {value}, wie gehabt.",
        ),
        "Wie versprochen: {value}.",
        (
            "Die Rechnung Nr. 2024-##### über 1.2##,50 EUR ist am 15.03.2024 fällig.",
            "Ihre Bestellung 40##-##### ist unterwegs, Sendungsnummer 0034043#1########2##.",
            "Die Besprechung findet in Raum 4.1##, Haus #, von 9:30 bis 11:00 Uhr statt.",
            "Sie erreichen mich bis Freitag unter 0171 55##1##.",
            "Einzelheiten unter https://shop.example.de/t?id=84#######67##1&u=93####7.",
            "Version 4.1#.2 des Berichts hat ### Seiten; Seite 1## ist wichtig.",
        ),
        {
            "payment-card": ("Kreditkartennummer", "Kreditkarte", "Kartennummer"),
            "iban": ("IBAN", "Kontoverbindung"),
            "date-of-birth": ("Geburtsdatum", "geboren am"),
            "id-de-steuerid": ("Steuer-ID", "Steueridentifikationsnummer", "IdNr."),
            "id-ch-ahv": ("AHV-Nummer", "AHV-Nr."),
            "credential-password": ("Passwort", "Kennwort"),
        },
    ),
    "fr": Language(
        "Madame Laurent,",
        "Cordialement\nJulien Mercier\nTél. 01 70 18 ## ##",
        "Claire Laurent",
        "Nom",
        "Montant",
        (
            "Comme convenu, mon {label} est {value}.",
            "Merci d'utiliser pour le dossier : {label} {value}.",
            "Pour vos archives, {label} : {value}, comme avant.",
        ),
        "Comme promis : {value}.",
        (
            "La facture n° 2024-##### de 1 2##,50 EUR est due le 15/03/2024.",
            "Votre commande 40##-##### est expédiée, numéro de suivi 6A1########2##.",
            "La réunion a lieu en salle 4.1##, bâtiment #, de 9h30 à 11h00.",
            "Vous pouvez me joindre jusqu'à vendredi au 06 39 98 ## ##.",
            "Détails sur https://shop.example.fr/t?id=84#######67##1&u=93####7.",
            "La version 4.1#.2 du rapport compte ### pages ; voir page 1##.",
        ),
        {
            "payment-card": ("numéro de carte bancaire", "carte de crédit"),
            "iban": ("IBAN", "compte (IBAN)"),
            "date-of-birth": ("date de naissance", "né le"),
            "id-fr-nir": ("numéro de sécurité sociale", "NIR"),
            "credential-password": ("mot de passe",),
        },
    ),
    "es": Language(
        "Estimada señora García:",
        "Un saludo\nMiguel Torres\nTel. 91 555 ## ##",
        "Lucía García",
        "Nombre",
        "Importe",
        (
            "Como hablamos, mi {label} es {value}.",
            "Utilice para la solicitud {label} {value}.",
            "Para su archivo: {label} {value}, como antes.",
        ),
        "Como prometí: {value}.",
        (
            "La factura n.º 2024-##### de 1.2##,50 EUR vence el 15/03/2024.",
            "Su pedido 40##-##### está en camino, seguimiento PQ4########2##.",
            "La reunión es en la sala 4.1##, edificio #, de 9:30 a 11:00.",
            "Puede llamarme hasta el viernes al 612 ## ## ##.",
            "Más detalles en https://shop.example.es/t?id=84#######67##1&u=93####7.",
            "La versión 4.1#.2 del informe tiene ### páginas; vea la página 1##.",
        ),
        {
            "payment-card": ("número de tarjeta", "tarjeta de crédito"),
            "iban": ("IBAN", "cuenta (IBAN)"),
            "date-of-birth": ("fecha de nacimiento", "nacido el"),
            "id-es-dni": ("DNI", "NIF"),
            "id-es-nie": ("NIE", "número de identidad de extranjero"),
            "credential-password": ("contraseña",),
        },
    ),
    "it": Language(
        "Gentile signora Rossi,",
        "Cordiali saluti\nMarco Bianchi\nTel. 02 555 ####",
        "Giulia Rossi",
        "Nome",
        "Importo",
        (
            "Come d'accordo, il mio {label} è {value}.",
            "Per la domanda usi {label} {value}.",
            "Per il vostro archivio: {label} {value}, come prima.",
        ),
        "Come promesso: {value}.",
        (
            "La fattura n. 2024-##### di 1.2##,50 EUR scade il 15/03/2024.",
            "Il suo ordine 40##-##### è stato spedito, tracking 1Z99#AA1#########.",
            "La riunione si tiene in sala 4.1##, edificio #, dalle 9:30 alle 11:00.",
            "Mi può chiamare fino a venerdì al 347 55##1##.",
            "Dettagli su https://shop.example.it/t?id=84#######67##1&u=93####7.",
            "La versione 4.1#.2 del rapporto ha ### pagine; veda pagina 1##.",
        ),
        {
            "payment-card": ("numero della carta", "carta di credito"),
            "iban": ("IBAN", "conto (IBAN)"),
            "date-of-birth": ("data di nascita", "nato il"),
            "id-it-codicefiscale": ("codice fiscale", "C.F."),
            "credential-password": ("password",),
        },
    ),
    "nl": Language(
        "Geachte mevrouw De Vries,",
        "Met vriendelijke groet\nPieter Jansen\nTel. 020 555 ## ##",
        "Anna de Vries",
        "Naam",
        "Bedrag",
        (
            "Zoals besproken is mijn {label} {value}.",
            "Gebruik voor de aanvraag {label} {value}.",
            "Voor uw dossier: {label} {value}, zoals voorheen.",
        ),
        "Zoals beloofd: {value}.",
        (
            "Factuur nr. 2024-##### van € 1.2##,50 vervalt op 15-03-2024.",
            "Uw bestelling 40##-##### is verzonden, track & trace 3SABCD########2.",
            "De vergadering is in zaal 4.1##, gebouw #, van 9.30 tot 11.00 uur.",
            "U kunt mij tot vrijdag bereiken op 06-55##1###.",
            "Meer op https://shop.example.nl/t?id=84#######67##1&u=93####7.",
            "Versie 4.1#.2 van het rapport heeft ### pagina's; zie pagina 1##.",
        ),
        {
            "payment-card": ("creditcardnummer", "creditcard"),
            "iban": ("IBAN", "rekening (IBAN)"),
            "date-of-birth": ("geboortedatum", "geboren op"),
            "id-nl-bsn": ("BSN", "burgerservicenummer"),
            "id-be-nn": ("rijksregisternummer",),
            "credential-password": ("wachtwoord",),
        },
    ),
    "pl": Language(
        "Szanowna Pani Kowalska,",
        "Z poważaniem\nPiotr Nowak\ntel. 22 555 ## ##",
        "Anna Kowalska",
        "Nazwisko",
        "Kwota",
        (
            "Zgodnie z umową mój {label} to {value}.",
            "Do wniosku proszę podać {label} {value}.",
            "Do akt: {label} {value}, jak poprzednio.",
        ),
        "Zgodnie z obietnicą: {value}.",
        (
            "Faktura nr 2024/##### na kwotę 1 2##,50 zł jest płatna do 15.03.2024.",
            "Zamówienie 40##-##### zostało wysłane, numer przesyłki 0015#########2##.",
            "Spotkanie odbędzie się w sali 4.1##, budynek #, od 9:30 do 11:00.",
            "Do piątku jestem pod numerem 601 ## ## ##.",
            "Szczegóły: https://shop.example.pl/t?id=84#######67##1&u=93####7.",
            "Wersja 4.1#.2 raportu ma ### stron; proszę zobaczyć stronę 1##.",
        ),
        {
            "payment-card": ("numer karty", "karta kredytowa"),
            "iban": ("IBAN", "konto (IBAN)"),
            "date-of-birth": ("data urodzenia",),
            "id-pl-pesel": ("PESEL", "numer PESEL"),
            "tax-pl-nip": ("NIP", "numer NIP"),
            "credential-password": ("hasło",),
        },
    ),
    "pt": Language(
        "Exma. Senhora Silva,",
        "Com os melhores cumprimentos\nJoão Ferreira\nTel. 21 555 ## ##",
        "Marta Silva",
        "Nome",
        "Valor",
        (
            "Conforme combinado, o meu {label} é {value}.",
            "Para o pedido utilize {label} {value}.",
            "Para o seu arquivo: {label} {value}, como antes.",
        ),
        "Como prometido: {value}.",
        (
            "A fatura n.º 2024-##### de 1.2##,50 EUR vence em 15/03/2024.",
            "A sua encomenda 40##-##### foi enviada, objeto RR4########PT.",
            "A reunião é na sala 4.1##, edifício #, das 9:30 às 11:00.",
            "Pode ligar-me até sexta-feira para 912 ## ## ##.",
            "Mais em https://shop.example.pt/t?id=84#######67##1&u=93####7.",
            "A versão 4.1#.2 do relatório tem ### páginas; veja a página 1##.",
        ),
        {
            "payment-card": ("número do cartão", "cartão de crédito"),
            "iban": ("IBAN", "conta (IBAN)"),
            "date-of-birth": ("data de nascimento",),
            "tax-pt-nif": ("NIF", "número de contribuinte"),
            "id-br-cpf": ("CPF",),
            "credential-password": ("palavra-passe", "senha"),
        },
    ),
}
"""The languages that are measured, by their ISO 639-1 code."""
