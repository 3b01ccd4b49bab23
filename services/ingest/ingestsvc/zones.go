package ingestsvc

import _ "time/tzdata" // zones are the same on every machine
