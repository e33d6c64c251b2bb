"""Ordinary business mail in eleven languages: full of numbers, and nothing in it is sensitive."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail: its language, subject and text; ``html`` when the text is markup."""

    language: str
    subject: str
    text: str
    html: bool = False

    @property
    def content(self) -> bytes:
        """The mail in the form of RFC 5322, as a usual client sends it."""
        head = (
            "From: Robin Hale <robin.hale@supplier.example>\nTo: sam.reed@customer.example\n"
            f"Subject: {self.subject}\nDate: Tue, 12 Mar 2024 09:41:07 +0100\n"
            "Message-ID: <20240312094107.4711.83920174@mail.supplier.example>\nMIME-Version: 1.0\n"
            f"Content-Type: text/{'html' if self.html else 'plain'}; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
        )
        return f"{head}\n{self.text.strip()}\n".encode()


LETTERS: tuple[Letter, ...] = (
    Letter(
        "en",
        "Invoice 2024-00417 and delivery on Thursday",
        """
Hi Sam,

please find attached invoice 2024-00417 over EUR 1,284.50 (net 1,079.41, VAT 19 %), due on 11 April 2024. The pallets
(order 4500183920, 12 boxes, 184 kg) leave our warehouse on Thursday; the tracking number is 1Z999AA10123456784.

For questions call +44 20 7946 0958 or my mobile 07700 900 142. Our VAT registration is GB 365 4627 82.

Best wishes
Robin

This e-mail may contain confidential or privileged information. If you are not the intended recipient, please notify
the sender and delete it.
""",
    ),
    Letter(
        "en",
        "Re: Release 4.12.3: tests on build 20240311.7",
        """
On 11 March 2024 at 18:22, Sam Reed wrote:
> The nightly build 20240311.7 (commit 9f8b2c1d4e5a60718293a4b5c6d7e8f901234567) fails on 10.20.30.41.

Fixed in 4.12.4. The password prompt of the installer now waits for the terminal; to set a new password, use the link
in the settings. The token bucket allows 1000000 requests per 3600 seconds. MD5 of the archive:
5d41402abc4b2a76b9719d911017c592. Ticket PROJ-18342, case 00123987.

The API key is kept in the vault as before: ask Kim for access.

Robin
""",
    ),
    Letter(
        "en",
        "Invitation: budget 2025, Wednesday 10:00",
        """
Join the meeting: https://meet.example.com/j/98765432101?pwd=QmFkR3Vlc3NUcnlBZ2Fpbg
Meeting ID: 987 6543 2101
Passcode: 482913
Dial-in: +1 646 555 0192,,98765432101#

Agenda: 1) actuals 2023, EUR 4,184,220; 2) headcount 41 -> 44; 3) travel.
""",
    ),
    Letter(
        "en",
        "Your March newsletter",
        """
<html><body><h1>Health and business in March</h1>
<p>Our charity run for cancer research brought in $12,480. A new study about diabetes and sleep is worth reading, and
the union of publishers has a new chair.</p>
<p><a href="https://news.example.com/c/4111222233334445?u=83920174&amp;t=5500000000000013">Read more</a> or call
1-800-555-0199.</p>
<p>Coupon 1234-5678-9012, valid until 2024-03-31. ISBN 978-3-16-148410-0.</p></body></html>
""",
        html=True,
    ),
    Letter(
        "de",
        "Rechnung 2024-00417 und Liefertermin",
        """
Sehr geehrte Frau Reed,

anbei die Rechnung Nr. 2024-00417 über 1.284,50 EUR (netto 1.079,41 EUR, 19 % USt.), fällig am 11.04.2024. Die Ware
(Bestellung 4500183920, Kundennummer 1047293, 12 Kartons, 184 kg) verlässt am Donnerstag unser Lager in 70565 Stuttgart;
Sendungsnummer 00340434161094042557.

Rückfragen gern unter 0711 5530-142 oder mobil 0171 5530142. Amtsgericht Stuttgart, HRB 720583.

Mit freundlichen Grüßen
Robin Hale

Diese E-Mail enthält vertrauliche und/oder rechtlich geschützte Informationen.
""",
    ),
    Letter(
        "de",
        "AW: Terminabstimmung Projekt Nordhafen",
        """
Hallo zusammen,

die Besprechung am 15.03.2024 findet in Raum 4.117 statt, von 9:30 bis 11:00 Uhr. Bitte lest vorher die Seiten 12-48 des
Berichts (Version 2.14, Stand 08.03.2024). Die Diagnose des Netzwerks läuft noch; der Patient, also der alte Server,
wird am Montag ersetzt. Das neue Kennwort vergibt die IT persönlich, bitte nicht per Mail schicken.

Kostenstelle 471100, Auftrag 8004711, Zähler 1EMH0012345678.

Viele Grüße
Robin
""",
    ),
    Letter(
        "fr",
        "Facture 2024-00417 et livraison de jeudi",
        """
Bonjour Madame,

veuillez trouver ci-joint la facture n° 2024-00417 d'un montant de 1 284,50 EUR TTC, payable avant le 11/04/2024. La
commande 4500183920 (12 cartons, 184 kg) part jeudi de notre entrepôt à 69007 Lyon ; numéro de suivi 6A12345678901.

Pour toute question : 04 72 55 01 42 ou 06 39 98 01 42. RCS Lyon 552 100 554.

Mot de passe oublié ? Utilisez le lien de la page d'accueil.

Cordialement
Robin Hale
""",
    ),
    Letter(
        "fr",
        "Compte rendu de la réunion du 12 mars",
        """
Bonjour à tous,

le diagnostic du réseau est terminé : 38 postes sur 41 sont à jour (version 10.0.19045). La réunion syndicale des
copropriétaires est reportée au 22/03/2024 à 18h30, salle 117. Le devis D-2024-0091 de 3 480,00 EUR est accepté.

Bonne journée
Robin
""",
    ),
    Letter(
        "es",
        "Factura 2024-00417 y entrega del jueves",
        """
Estimada Sra. Reed:

Le adjuntamos la factura n.º 2024-00417 por 1.284,50 EUR (IVA incluido), con vencimiento el 11/04/2024. El pedido
4500183920 (12 cajas, 184 kg) sale el jueves de nuestro almacén en 08018 Barcelona; seguimiento PQ4F6P0712345678901.

Para cualquier duda, llámenos al 93 555 01 42 o al 612 34 56 78.

Un saludo
Robin Hale
""",
    ),
    Letter(
        "es",
        "Reunión del proyecto: orden del día",
        """
Hola a todos:

La reunión es el 15 de marzo de 2024 a las 9:30 en la sala 4.117. Por favor, lean las páginas 12 a 48 del informe
(versión 2.14). El diagnóstico del servidor 10.20.30.41 estará listo el lunes. Presupuesto: 41.842,20 EUR;
partida 471100.

Gracias
Robin
""",
    ),
    Letter(
        "it",
        "Fattura 2024-00417 e consegna di giovedì",
        """
Gentile signora Reed,

in allegato la fattura n. 2024-00417 di 1.284,50 EUR (IVA 22 % inclusa), scadenza 11/04/2024. L'ordine 4500183920 (12
scatole, 184 kg) parte giovedì dal nostro magazzino, 20121 Milano; numero di spedizione 1Z999AA10123456784.

Per domande: 02 5550 0142 oppure 347 555 0142. REA MI-1234567.

Cordiali saluti
Robin Hale
""",
    ),
    Letter(
        "nl",
        "Factuur 2024-00417 en levering donderdag",
        """
Geachte mevrouw Reed,

bijgaand factuur 2024-00417 van € 1.284,50 (incl. 21 % btw), te betalen voor 11-04-2024. Bestelling 4500183920 (12
dozen, 184 kg) verlaat donderdag ons magazijn, 3511 AB Utrecht; track & trace 3SABCD012345678.

Bel voor vragen 030 555 01 42 of 06-12345678. KvK 30412345. Wachtwoord vergeten? Gebruik de link op de website.

Met vriendelijke groet
Robin Hale
""",
    ),
    Letter(
        "pl",
        "Faktura 2024/00417 i dostawa w czwartek",
        """
Szanowna Pani,

w załączniku faktura nr 2024/00417 na kwotę 5 284,50 zł (VAT 23 %), termin płatności 11.04.2024. Zamówienie 4500183920
(12 kartonów, 184 kg) wyjedzie w czwartek z magazynu w Poznaniu, 61-001; numer przesyłki 00159007738812345678.

W razie pytań: 61 555 01 42 lub 601 555 142.

Z poważaniem
Robin Hale
""",
    ),
    Letter(
        "pt",
        "Fatura 2024-00417 e entrega na quinta-feira",
        """
Exma. Senhora,

segue a fatura n.º 2024-00417 no valor de 1.284,50 EUR (IVA 23 % incluído), com vencimento em 11/04/2024. A encomenda
4500183920 (12 caixas, 184 kg) sai na quinta-feira do armazém em 4050-123 Porto; objeto RR123456785PT.

Para questões: 22 555 01 42 ou 912 555 142.

Com os melhores cumprimentos
Robin Hale
""",
    ),
    Letter(
        "sv",
        "Faktura 2024-00417 och leverans på torsdag",
        """
Hej Sam,

bifogat finns faktura 2024-00417 på 12 845,50 kr, förfallodag 2024-04-11. Order 4500183920 (12 kartonger, 184 kg) lämnar
lagret i 411 04 Göteborg på torsdag; kollinummer 373500100000012345. Ring 031-555 01 42 vid frågor.

Vänliga hälsningar
Robin Hale
""",
    ),
    Letter(
        "da",
        "Faktura 2024-00417 og levering torsdag",
        """
Hej Sam,

vedhæftet er faktura 2024-00417 på 9.845,50 kr., forfaldsdato 11.04.2024. Ordre 4500183920 (12 kasser, 184 kg) forlader
lageret i 8000 Aarhus torsdag; pakkenummer 00370712345678901234. Ring 86 55 01 42 ved spørgsmål.

Venlig hilsen
Robin Hale
""",
    ),
    Letter(
        "cs",
        "Faktura 2024-00417 a dodávka ve čtvrtek",
        """
Dobrý den,

v příloze je faktura č. 2024-00417 na 31 284,50 Kč, splatnost 11. 4. 2024. Objednávka 4500183920 (12 krabic, 184 kg)
opustí sklad v Brně, 602 00, ve čtvrtek; číslo zásilky DR1234567890C. Volejte 541 555 142.

S pozdravem
Robin Hale
""",
    ),
)
"""All of them."""
