"""
MQTT 3.1.1 for several services: codec (bytes and packets), session and tree (what a broker
remembers), connection (one client), server (ports and services), websocket (frames).
"""
