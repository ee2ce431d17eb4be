"""Bahasa Indonesia."""

MESSAGES = {
    "missing_token": "Silakan masuk dengan Facebook untuk melanjutkan.",
    "invalid_request": "Aplikasi mengirim permintaan yang tidak dapat kami baca.",
    "malformed_token": "Sesi Facebook Anda tidak dapat dibaca. Silakan masuk lagi.",
    "invalid_token": "Sesi Facebook Anda tidak berlaku lagi. Silakan masuk lagi.",
    "expired": "Sesi Facebook Anda telah berakhir. Silakan masuk lagi.",
    "expires_soon": "Sesi Facebook Anda akan segera berakhir. Silakan masuk lagi.",
    "password_changed": "Kata sandi Facebook Anda diubah atau Anda telah keluar. Silakan masuk lagi.",
    "logged_out": "Anda telah keluar dari Facebook. Silakan masuk lagi.",
    "session_invalidated": "Sesi Facebook Anda telah diakhiri. Silakan masuk lagi.",
    "not_authorized": "Anda belum mengizinkan aplikasi ini memakai akun Facebook Anda. Silakan masuk lagi.",
    "checkpointed": "Facebook meminta Anda memeriksa akun. Kunjungi facebook.com, lalu masuk lagi.",
    "unconfirmed_user": "Silakan konfirmasi akun Anda di facebook.com, lalu masuk lagi.",
    "role_lost": "Anda tidak lagi memiliki peran yang diperlukan di Halaman ini. Hubungi admin Halaman.",
    "app_inactive": "Silakan izinkan lagi aplikasi ini memakai akun Facebook Anda.",
    "wrong_app": "Sesi masuk ini milik aplikasi lain. Silakan masuk lagi di sini.",
    "wrong_token_type": "Silakan masuk dengan akun Facebook Anda sendiri.",
    "data_access_expired": "Akses aplikasi ini ke data Facebook Anda telah habis. Silakan masuk lagi.",
    "login_too_old": "Silakan masukkan lagi kata sandi Facebook Anda untuk melanjutkan.",
    "insufficient_scope": "Ini memerlukan izin yang belum Anda berikan. Silakan izinkan di Facebook.",
    "insufficient_target": "Ini memerlukan izin Anda untuk Halaman atau akun ini. Izinkan di Facebook.",
    "limited_login": "Ini memerlukan login Facebook penuh. Masuk lagi dan izinkan pelacakan bila diminta.",
    "too_many_lookups": "Terlalu banyak percobaan. Silakan coba lagi nanti.",
    "throttled": "Facebook sedang sibuk. Silakan coba lagi nanti.",
    "unavailable": "Kami tidak dapat menghubungi Facebook. Silakan coba lagi sebentar lagi.",
    "misconfigured": "Layanan ini sedang tidak dapat menghubungi Facebook. Silakan coba lagi nanti.",
}

LABELS = {
    "login": "Lanjutkan dengan Facebook",
    "visit_facebook": "Buka Facebook",
    "wait": "Coba lagi",
    "developers": "Untuk pengembang",
}
