%%% @doc The files of shared memory in the results of one driver: its connection owns them until the driver has no use for them. A value.
%%%
%%% Which files an answer has brought `py_shared_owner' says, by the number of its call: the bytes of an answer are not asked, in which a
%%% driver's own text can look like anything.
%%% @private
-module(py_gateway_files).

-export([new/1, given/3, release/2, has_room/1]).
-export_type([files/0]).

-record(files, {
    quota :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    held = #{} :: #{py_shared_owner:name() => non_neg_integer()}
}).
-opaque files() :: #files{}.

%% @doc None, of a driver that may hold so many bytes.
-spec new(Quota :: non_neg_integer()) -> files().
new(Quota) -> #files{quota = Quota}.

%% @doc Whether the driver holds no more than it may.
-spec has_room(files()) -> boolean().
has_room(#files{quota = Quota, bytes = Bytes}) -> Bytes =< Quota.

%% @doc What an answer brings.
-spec given(Frame :: binary(), py_pending:origin(), files()) -> files().
given(Frame, {_Worker, Call}, Files) ->
    case py_send:mentions_shared(Frame) of
        true -> lists:foldl(fun add/2, Files, py_shared_owner:given(Call));
        false -> Files
    end;
%% Files of another node are none here.
given(_Frame, elsewhere, Files) ->
    Files.

add({Name, _Size}, #files{held = Held} = Files) when is_map_key(Name, Held) -> Files;
add({Name, Size}, #files{held = Held, bytes = Bytes} = Files) -> Files#files{held = Held#{Name => Size}, bytes = Bytes + Size}.

%% @doc The driver has no use for it any more; what is none of its files stays.
-spec release(term(), files()) -> files().
release(Name, #files{held = Held, bytes = Bytes} = Files) ->
    case maps:take(Name, Held) of
        {Size, Left} ->
            py_shared_owner:disown([Name]),
            Files#files{held = Left, bytes = Bytes - Size};
        error ->
            Files
    end.
