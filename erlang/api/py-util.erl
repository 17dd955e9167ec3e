%%% @doc The one call that the source document makes to a module of this name.
-module('py-util').

-export(['get-versions'/0]).

%% @doc See {@link py_admin:versions/0}.
-spec 'get-versions'() -> [{atom(), term()}].
'get-versions'() -> py_admin:versions().
