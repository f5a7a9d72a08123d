package cardholder

import (
	"strconv"
	"strings"
	"time"
)

// pageTexts are what the page says in one language. Placeholders: {property},
// {amount}, {reference}, {until}, {deadline}.
type pageTexts struct {
	lang   string
	months [12]string
	date   string // of {day}, {month}, {year}, {time}

	title      string
	question   string // who holds what, and until when
	booking    string
	bank, card string // why the cardholder is needed
	next       string // what happens next
	twice      string // that both may show for a moment
	toBank     string
	toCard     string
	otherCard  string

	waitTitle, wait         string
	doneTitle, done         string
	lateTitle, late         string
	expiredTitle, expired   string
	unknownTitle, unknown   string
	troubleTitle, trouble   string
	leaveTitle, leave, link string // on the way to a page of Stripe's
	test                    string
}

// catalog has English first: it is the language of visitors whose own is not
// here.
var catalog = []*pageTexts{
	{
		lang: "en", date: "{day} {month} {year}, {time}",
		months: [12]string{"January", "February", "March", "April", "May", "June", "July",
			"August", "September", "October", "November", "December"},
		title: "Please confirm your card authorization",
		question: "{property} holds {amount} on your card. That authorization ends on {deadline}, " +
			"and you agreed that the amount stays held until {until}.",
		booking: "Booking {reference}",
		bank:    "Your bank asks that you confirm the new authorization yourself.",
		card:    "Your bank did not accept the saved card. Please give another card.",
		next: "You are not charged now. Once the new authorization is in place, the old one is " +
			"released.",
		twice:     "For a short time your bank may show the amount twice.",
		toBank:    "Continue to your bank",
		toCard:    "Continue to the card form",
		otherCard: "Use another card instead",
		waitTitle: "One moment",
		wait:      "We are waiting for your bank. This page updates by itself.",
		doneTitle: "Thank you",
		done: "There is nothing left for you to do. {property} holds {amount} on your card until " +
			"{until} at the latest.",
		lateTitle: "Nothing left to do",
		late: "This authorization has ended or cannot be confirmed any more. If you have " +
			"questions, please ask {property}.",
		expiredTitle: "This link has expired",
		expired:      "Please ask {property} for a new link.",
		unknownTitle: "This link is not valid",
		unknown:      "Please check that the link is complete, or ask for a new one.",
		troubleTitle: "Please try again",
		trouble:      "That did not work just now. Nothing has changed. Please try again in a minute.",
		leaveTitle:   "Continue",
		leave:        "You are being taken to a secure page.",
		link:         "Continue now",
		test:         "Test mode: no real money is held.",
	},
	{
		lang: "de", date: "{day}. {month} {year}, {time} Uhr",
		months: [12]string{"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August",
			"September", "Oktober", "November", "Dezember"},
		title: "Bitte bestätigen Sie die Kartenreservierung",
		question: "{property} hat {amount} auf Ihrer Karte reserviert. Diese Reservierung endet am " +
			"{deadline}. Sie haben zugestimmt, dass der Betrag bis {until} reserviert bleibt.",
		booking: "Buchung {reference}",
		bank:    "Ihre Bank möchte, dass Sie die neue Reservierung selbst bestätigen.",
		card: "Ihre Bank hat die gespeicherte Karte nicht akzeptiert. Bitte geben Sie eine " +
			"andere Karte an.",
		next: "Ihre Karte wird jetzt nicht belastet. Sobald die neue Reservierung besteht, wird die " +
			"alte freigegeben.",
		twice:     "Für kurze Zeit zeigt Ihre Bank den Betrag vielleicht doppelt.",
		toBank:    "Weiter zu Ihrer Bank",
		toCard:    "Weiter zum Kartenformular",
		otherCard: "Stattdessen eine andere Karte verwenden",
		waitTitle: "Einen Moment",
		wait:      "Wir warten auf Ihre Bank. Diese Seite aktualisiert sich selbst.",
		doneTitle: "Vielen Dank",
		done: "Für Sie ist nichts mehr zu tun. {property} hält {amount} auf Ihrer Karte bis " +
			"spätestens {until} reserviert.",
		lateTitle: "Nichts mehr zu tun",
		late: "Diese Reservierung ist beendet oder kann nicht mehr bestätigt werden. Bei Fragen " +
			"wenden Sie sich bitte an {property}.",
		expiredTitle: "Dieser Link ist abgelaufen",
		expired:      "Bitte fragen Sie {property} nach einem neuen Link.",
		unknownTitle: "Dieser Link ist ungültig",
		unknown: "Bitte prüfen Sie, ob der Link vollständig ist, oder fragen Sie nach einem " +
			"neuen.",
		troubleTitle: "Bitte versuchen Sie es noch einmal",
		trouble: "Das hat gerade nicht geklappt. Es hat sich nichts geändert. Bitte versuchen Sie " +
			"es in einer Minute noch einmal.",
		leaveTitle: "Weiter",
		leave:      "Sie werden auf eine sichere Seite weitergeleitet.",
		link:       "Jetzt weiter",
		test:       "Testmodus: Es wird kein echtes Geld reserviert.",
	},
	{
		lang: "fr", date: "{day} {month} {year} à {time}",
		months: [12]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août",
			"septembre", "octobre", "novembre", "décembre"},
		title: "Veuillez confirmer l’empreinte de votre carte",
		question: "{property} a bloqué {amount} sur votre carte. Cette autorisation prend fin le " +
			"{deadline}. Vous avez accepté que le montant reste bloqué jusqu’au {until}.",
		booking: "Réservation {reference}",
		bank:    "Votre banque vous demande de confirmer vous-même la nouvelle autorisation.",
		card: "Votre banque n’a pas accepté la carte enregistrée. Veuillez indiquer une autre " +
			"carte.",
		next: "Vous n’êtes pas débité maintenant. Dès que la nouvelle autorisation est en place, " +
			"l’ancienne est libérée.",
		twice:     "Pendant un court moment, votre banque peut afficher le montant deux fois.",
		toBank:    "Continuer vers votre banque",
		toCard:    "Continuer vers le formulaire de carte",
		otherCard: "Utiliser une autre carte",
		waitTitle: "Un instant",
		wait:      "Nous attendons votre banque. Cette page s’actualise d’elle-même.",
		doneTitle: "Merci",
		done: "Vous n’avez plus rien à faire. {property} garde {amount} bloqués sur votre carte, au " +
			"plus tard jusqu’au {until}.",
		lateTitle: "Plus rien à faire",
		late: "Cette autorisation est terminée ou ne peut plus être confirmée. Pour toute " +
			"question, adressez-vous à {property}.",
		expiredTitle: "Ce lien a expiré",
		expired:      "Veuillez demander un nouveau lien à {property}.",
		unknownTitle: "Ce lien n’est pas valable",
		unknown:      "Vérifiez que le lien est complet, ou demandez-en un nouveau.",
		troubleTitle: "Veuillez réessayer",
		trouble: "L’opération n’a pas abouti. Rien n’a changé. Veuillez réessayer dans une " +
			"minute.",
		leaveTitle: "Continuer",
		leave:      "Vous allez être dirigé vers une page sécurisée.",
		link:       "Continuer maintenant",
		test:       "Mode test : aucun argent réel n’est bloqué.",
	},
	{
		lang: "es", date: "{day} de {month} de {year}, {time}",
		months: [12]string{"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto",
			"septiembre", "octubre", "noviembre", "diciembre"},
		title: "Confirme la autorización de su tarjeta",
		question: "{property} tiene retenidos {amount} en su tarjeta. Esa autorización termina el " +
			"{deadline}. Usted aceptó que el importe quede retenido hasta el {until}.",
		booking: "Reserva {reference}",
		bank:    "Su banco le pide que confirme usted mismo la nueva autorización.",
		card:    "Su banco no ha aceptado la tarjeta guardada. Indique otra tarjeta.",
		next: "Ahora no se le cobra nada. En cuanto exista la nueva autorización, se libera la " +
			"anterior.",
		twice:     "Durante un momento su banco puede mostrar el importe dos veces.",
		toBank:    "Continuar a su banco",
		toCard:    "Continuar al formulario de tarjeta",
		otherCard: "Usar otra tarjeta",
		waitTitle: "Un momento",
		wait:      "Estamos esperando a su banco. Esta página se actualiza sola.",
		doneTitle: "Gracias",
		done: "No tiene que hacer nada más. {property} mantiene retenidos {amount} en su tarjeta, " +
			"como máximo hasta el {until}.",
		lateTitle: "No queda nada por hacer",
		late: "Esta autorización ha terminado o ya no se puede confirmar. Si tiene preguntas, " +
			"diríjase a {property}.",
		expiredTitle: "Este enlace ha caducado",
		expired:      "Pida un enlace nuevo a {property}.",
		unknownTitle: "Este enlace no es válido",
		unknown:      "Compruebe que el enlace está completo o pida uno nuevo.",
		troubleTitle: "Inténtelo de nuevo",
		trouble:      "No ha funcionado. No ha cambiado nada. Inténtelo de nuevo en un minuto.",
		leaveTitle:   "Continuar",
		leave:        "Le llevamos a una página segura.",
		link:         "Continuar ahora",
		test:         "Modo de prueba: no se retiene dinero real.",
	},
}

// textsForAcceptLanguage returns the language that a visitor prefers, by the header
// Accept-Language.
func textsForAcceptLanguage(header string) *pageTexts {
	best, quality := catalog[0], 0.0
	for i, item := range strings.Split(header, ",") {
		if i == 20 { // a browser sends a few
			break
		}
		tag, params, _ := strings.Cut(item, ";")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			parsed, err := strconv.ParseFloat(v, 64)
			if err != nil {
				continue
			}
			q = parsed
		}
		primary, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		for _, t := range catalog {
			if t.lang == primary && q > quality {
				best, quality = t, q
			}
		}
	}
	return best
}

// formatTime writes a time as the language does, in the property's zone.
func (t *pageTexts) formatTime(at time.Time, zone *time.Location) string {
	at = at.In(zone)
	name, _ := at.Zone()
	return strings.NewReplacer("{day}", strconv.Itoa(at.Day()),
		"{month}", t.months[at.Month()-1], "{year}", strconv.Itoa(at.Year()),
		"{time}", at.Format("15:04")).Replace(t.date) + " (" + name + ")"
}
