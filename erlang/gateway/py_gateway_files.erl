%%% @doc The files of shared memory in the results of one driver: its connection owns them until the driver has no use for them. A value.
%%% @private
-module(py_gateway_files).

-export([new/1, given/2, release/2, has_room/1]).
-export_type([files/0]).

-record(files, {
    quota :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    held = #{} :: #{py_shared_owner:name() => pos_integer()}
}).
-opaque files() :: #files{}.

-define(MARKER, <<"$py.shm">>).
-define(NAME, "[0-9a-f]{16}-[0-9]{1,15}-[1-9][0-9]{0,17}").

%% @doc None, of a driver that may hold so many bytes.
-spec new(Quota :: non_neg_integer()) -> files().
new(Quota) -> #files{quota = Quota}.

%% @doc Whether the driver holds no more than it may.
-spec has_room(files()) -> boolean().
has_room(#files{quota = Quota, bytes = Bytes}) -> Bytes =< Quota.

%% @doc What an answer brings.
-spec given(Frame :: binary(), files()) -> files().
given(Frame, #files{held = Held, bytes = Bytes} = Files) ->
    case binary:match(Frame, ?MARKER) of
        nomatch ->
            Files;
        _ ->
            Names =
                case re:run(Frame, ?NAME, [global, {capture, first, binary}]) of
                    {match, Found} -> lists:append(Found);
                    nomatch -> []
                end,
            New = maps:without(maps:keys(Held), maps:from_list([{binary:copy(Name), bytes(Name)} || Name <- Names])),
            Files#files{held = maps:merge(Held, New), bytes = Bytes + lists:sum(maps:values(New))}
    end.

%% A name ends with the size.
bytes(Name) ->
    [_Maker, _Number, Bytes] = binary:split(Name, <<"-">>, [global]),
    binary_to_integer(Bytes).

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
