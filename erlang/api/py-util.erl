%%% @doc What LFE py's module of this name told of versions, by the same names.
-module('py-util').

-export(['get-versions'/0, 'get-py-version'/0, 'get-erlport-version'/0, 'get-python-version'/0]).

%% @doc See {@link py_admin:versions/0}.
-spec 'get-versions'() -> [{atom(), term()}].
'get-versions'() -> py_admin:versions().

%% @doc The version of `py'.
-spec 'get-py-version'() -> string() | undefined.
'get-py-version'() -> version(py).

%% @doc The version of ErlPort whose protocol is spoken.
-spec 'get-erlport-version'() -> string().
'get-erlport-version'() -> version(erlport).

%% @doc The lines that Python tells of its version.
-spec 'get-python-version'() -> [string()] | not_started.
'get-python-version'() -> version(python).

version(Key) -> proplists:get_value(Key, py_admin:versions()).
