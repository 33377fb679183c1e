# What every firmware of the emulated board has frozen in, as boards have it.

freeze("modules")
include("$(MPY_DIR)/extmod/asyncio")
