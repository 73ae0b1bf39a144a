"""What a deployment is on AWS: records and templates, what is wrong with them, what differs, what it costs.

Pure: nothing here reaches AWS.
"""
