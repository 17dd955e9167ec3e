%%% @doc The key that signs opaque pickles: one for all nodes that share a cookie, else one for this run of the node.
%%% @private
-module(py_key).

-export([get/0, get/1]).

%% @doc 32 bytes.
-spec get() -> <<_:256>>.
get() ->
    case erlang:get_cookie() of
        nocookie -> random();
        Cookie -> crypto:hash(sha256, [<<"py opaque pickles\0">>, atom_to_binary(Cookie, utf8)])
    end.

%% @doc The key of an interpreter of a pool with these options: the nodes' own, or for a sandboxed one a key that nobody
%% else has. What it signs nobody else reads.
-spec get(py_config:pool()) -> <<_:256>>.
get(#{sandbox := none}) -> ?MODULE:get();
get(_) -> crypto:strong_rand_bytes(32).

random() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            Key = crypto:strong_rand_bytes(32),
            persistent_term:put(?MODULE, Key),
            Key;
        Key ->
            Key
    end.
