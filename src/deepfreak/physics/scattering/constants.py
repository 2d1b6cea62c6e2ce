"""Physical constants, with the values that nanoBragg uses so that images agree to rounding."""

R_E_SQR_M2 = 7.94079248018965e-30  # classical electron radius squared
AVOGADRO = 6.02214179e23
