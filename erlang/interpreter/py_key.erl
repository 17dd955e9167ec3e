%%% @doc The key that signs opaque pickles: one for all nodes that share a cookie, else one for this run of the node.
%%%
%%% It is the same for a whole run of the application, whatever becomes of the cookie meanwhile. It is made from the cookie by
%%% PBKDF2 (RFC 8018), so that whoever has an opaque and guesses cookies needs as long for each guess as this node for all.
%%% @private
-module(py_key).

-export([begin_run/0, get/0, get/1]).

%% A guess takes some 50 ms of a core, in place of a microsecond.
-define(ROUNDS, 100_000).
-define(BYTES, 32).

%% @doc The application starts: the key is that of the cookie that the node has now.
-spec begin_run() -> ok.
begin_run() ->
    Cookie = erlang:get_cookie(),
    case persistent_term:get(?MODULE, none) of
        {Cookie, _} -> ok;
        _ -> persistent_term:put(?MODULE, {Cookie, made(Cookie)})
    end.

made(nocookie) ->
    crypto:strong_rand_bytes(?BYTES);
made(Cookie) ->
    crypto:pbkdf2_hmac(sha256, atom_to_binary(Cookie, utf8), <<"py opaque pickles\0">>, ?ROUNDS, ?BYTES).

%% @doc 32 bytes.
-spec get() -> <<_:256>>.
get() ->
    {_Cookie, Key} = persistent_term:get(?MODULE),
    Key.

%% @doc The key of an interpreter of a pool with these options: the nodes' own, or for a sandboxed one a key that nobody
%% else has. What it signs nobody else reads.
-spec get(py_config:pool()) -> <<_:256>>.
get(#{sandbox := none}) -> ?MODULE:get();
get(_) -> crypto:strong_rand_bytes(?BYTES).
