%%% @doc Arrays and bytes in shared memory, from Erlang's side: put there, looked at, cut, freed.
%%%
%%% The term `{'$py.shm', {Node, Name, {Offset, Bytes}, Form}}' means a part of a file that every worker of that node maps.
%%% `Name' is no path: the digits of who made the file, a number, its size. `Form' is `bytes', or `{Dtype, Shape}' for an
%%% array, whose elements lie there in row-major order. A part of a part is arithmetic.
%%%
%%% Knows nothing of workers. Who owns a file, `py_shared_owner' keeps.
%%% @private
-module(py_shared).

-include_lib("kernel/include/file.hrl").

-export([share/1, value/1, split/1, free/1, info/0, by_value/3, bytes/1]).
-export_type([value/0]).

-type value() :: binary() | {string(), {py_haystack:dtype(), Shape :: tuple(), binary()}}.
%% `{"ndarray", _}' for an array.
-type failure() ::
    not_started | {shared_memory, string()} | {stale_reference, string()} | {node_down, node()} | timeout.

-define(READ_ONLY, 8#400).

%% @doc `[Value]': a binary or an array's value form, copied into shared memory; belongs to the calling process.
-spec share([value()]) -> py_term:shm().
share([Value] = Args) ->
    Api = {share, Args},
    case parts(Value) of
        {ok, Binary, Form} ->
            case written(Binary) of
                {ok, Name} -> {'$py.shm', {node(), Name, {0, byte_size(Binary)}, Form}};
                {error, Reason} -> py_error:raise({py, Reason}, Api)
            end;
        error ->
            py_error:badarg(1, "must be a binary or {\"ndarray\", {Dtype, Shape, Binary}}, sizes that fit", Api)
    end.

parts(Binary) when is_binary(Binary) ->
    {ok, Binary, bytes};
parts({"ndarray", {Dtype, Shape, Binary}}) when is_binary(Binary), is_tuple(Shape) ->
    Sizes = tuple_to_list(Shape),
    case lists:all(fun(Size) -> is_integer(Size) andalso Size >= 0 end, Sizes) andalso fits(Sizes, Binary) of
        true -> {ok, Binary, {Dtype, Shape}};
        false -> error
    end;
parts(_) ->
    error.

fits(Sizes, Binary) ->
    case lists:foldl(fun erlang:'*'/2, 1, Sizes) of
        0 -> Binary =:= <<>>;
        Count -> byte_size(Binary) rem Count =:= 0 andalso Binary =/= <<>>
    end.

written(Binary) ->
    case py_shared_owner:new(max(1, byte_size(Binary))) of
        {ok, Name} ->
            {ok, Path} = py_shared_owner:path(Name),
            case write(Path, Binary) of
                ok ->
                    {ok, Name};
                {error, Reason} ->
                    _ = py_shared_owner:free(Name),
                    {error, {shared_memory, no_room(Binary, Reason)}}
            end;
        {error, _} = Error ->
            Error
    end.

%% A file without bytes can't be mapped.
write(Path, <<>>) -> write(Path, <<0>>);
write(Path, Binary) ->
    case file:write_file(Path, Binary, [raw]) of
        ok -> file:write_file_info(Path, #file_info{mode = ?READ_ONLY}, [raw]);
        {error, _} = Error -> Error
    end.

no_room(Binary, Reason) ->
    lists:flatten(
        io_lib:format("no room for ~w bytes of shared memory: ~ts", [byte_size(Binary), file:format_error(Reason)])
    ).

%% @doc `[Shm]': the bytes, as a binary or as an array's value form; also those of another node.
-spec value([py_term:shm()]) -> value().
value([Shm] = Args) ->
    is_shm(1, {value, Args}),
    case fetched(Shm, infinity) of
        {ok, Value} -> Value;
        {error, Reason} -> py_error:raise({py, Reason}, {value, Args})
    end.

fetched({_, {_, _, _, Form}} = Shm, Timeout) ->
    case fetched_bytes(Shm, Timeout) of
        {ok, Binary} when Form =:= bytes ->
            {ok, Binary};
        {ok, Binary} ->
            {Dtype, Shape} = Form,
            {ok, {"ndarray", {Dtype, Shape, Binary}}};
        {error, _} = Error ->
            Error
    end.

%% The name is drawn by lot, so a file of that name here is the one that is meant, whatever the node was called.
fetched_bytes({_, {Node, _, _, _}} = Shm, Timeout) ->
    case bytes(Shm) of
        {error, {stale_reference, _}} when Node =/= node() ->
            case py_transit:ask(parts, Node, {?MODULE, bytes, [Shm]}, Timeout) of
                {ok, Result} -> Result;
                {error, _} = Error -> Error
            end;
        Result ->
            Result
    end.

%% @doc The bytes that a term means in a file of this node. Also for other nodes.
-spec bytes(py_term:shm()) -> {ok, binary()} | {error, failure()}.
bytes({_, {_, Name, {Offset, Bytes}, _}}) ->
    case whereis(py_shared_owner) =/= undefined andalso py_shared_owner:path(Name) of
        {ok, Path} -> part(Name, Path, Offset, Bytes);
        error -> {error, {shared_memory, "a term of shared memory names no file of it"}};
        false -> {error, not_started}
    end.

part(Name, Path, Offset, Bytes) ->
    case py_shared_owner:is_there(Name) andalso file:open(Path, [raw, binary, read]) of
        {ok, File} ->
            try
                read(File, Offset, Bytes)
            after
                file:close(File)
            end;
        _ ->
            {error, {stale_reference,
                "the shared memory was freed: by py:release/1 or because the process that owned it ended"}}
    end.

read(_File, _Offset, 0) ->
    {ok, <<>>};
read(File, Offset, Bytes) ->
    %% The size first: what is asked for may be more than there is memory.
    {ok, Size} = file:position(File, eof),
    case Offset + Bytes =< Size andalso file:pread(File, Offset, Bytes) of
        {ok, Binary} when byte_size(Binary) =:= Bytes -> {ok, Binary};
        _ -> {error, {shared_memory, "a term of shared memory means more bytes than there are"}}
    end.

%% @doc `[Shm, Count]': up to that many parts of an array along its first axis, or of bytes, in order and of nearly equal
%% size. The parts are terms; nothing is copied, and nobody is asked.
-spec split([py_term:shm() | pos_integer()]) -> [py_term:shm()].
split([Shm, Count] = Args) -> split(Args, Shm, Count).

split(Args, {_, {Node, Name, {Offset, Bytes}, Form}}, Count) ->
    is_shm(1, {split, Args}),
    (is_integer(Count) andalso Count >= 1) orelse py_error:badarg(2, "must be a number of parts, at least 1", {split, Args}),
    Length = length_of(Form, Bytes),
    Length =/= none orelse py_error:badarg(1, "must be an array with an axis, or bytes", {split, Args}),
    RowBytes = if Length =:= 0 -> 0; true -> Bytes div Length end,
    [
        {'$py.shm', {Node, Name, {Offset + From * RowBytes, (To - From) * RowBytes}, part_of(Form, To - From)}}
     || {From, To} <- bounds(Length, max(1, min(Count, Length)))
    ];
split(Args, _, _) ->
    is_shm(1, {split, Args}).

length_of(bytes, Bytes) -> Bytes;
length_of({_, {}}, _) -> none;
length_of({_, Shape}, _) -> element(1, Shape).

part_of(bytes, _) -> bytes;
part_of({Dtype, Shape}, Length) -> {Dtype, setelement(1, Shape, Length)}.

bounds(Length, Count) -> [{Length * (N - 1) div Count, Length * N div Count} || N <- lists:seq(1, Count)].

is_shm(Position, {_, Args} = Api) ->
    py_term:is_shm(lists:nth(Position, Args)) orelse
        py_error:badarg(Position, "must be shared memory, {'$py.shm', _}", Api).

%% @doc Delete the file that a term means, here or on its node; all terms that mean parts of it are stale then.
-spec free(py_term:shm()) -> ok.
free({_, {Node, Name, _, _}}) ->
    _ = py_shared_owner:free(Name),
    Node =:= node() orelse py_transit:cast(Node, {py_shared_owner, free, [Name]}),
    ok.

%% @doc How much there is.
-spec info() -> py_shared_owner:info() | {error, {py, not_started}}.
info() ->
    case py_shared_owner:info() of
        {error, Reason} -> {error, {py, Reason}};
        Info -> Info
    end.

%% @doc Arguments with the values in place of terms of shared memory, at any depth: of those that mean another node's
%% (`elsewhere'), or of all (`no_shared_memory').
-spec by_value(elsewhere | no_shared_memory, [term()], timeout()) -> {ok, [term()]} | unchanged | {error, failure()}.
by_value(Which, Args, Timeout) ->
    Deadline = py_deadline:after_ms(Timeout),
    try replaced(Args, {Which, Deadline}) of
        Args -> unchanged;
        Values -> {ok, Values}
    catch
        throw:{?MODULE, Reason} -> {error, Reason}
    end.

replaced({'$py.shm', _} = Tuple, {Which, Deadline}) ->
    case py_term:is_shm(Tuple) andalso is_meant(Which, Tuple) of
        true -> argument(fetched(Tuple, py_deadline:left_ms(Deadline)));
        false -> Tuple
    end;
replaced([Head | Tail], How) -> [replaced(Head, How) | replaced(Tail, How)];
replaced(Tuple, How) when is_tuple(Tuple) -> list_to_tuple([replaced(Each, How) || Each <- tuple_to_list(Tuple)]);
replaced(Map, How) when is_map(Map) ->
    maps:from_list([{replaced(Key, How), replaced(Value, How)} || {Key, Value} <- maps:to_list(Map)]);
replaced(Term, _How) -> Term.

%% What a worker of this node takes for another node's: neither the file nor the name of the node is here.
is_meant(no_shared_memory, _) -> true;
is_meant(elsewhere, {_, {Node, Name, _, _}}) -> Node =/= node() andalso not py_shared_owner:is_there(Name).

argument({ok, Binary}) when is_binary(Binary) -> {bytes, Binary};
argument({ok, Array}) -> Array;
argument({error, Reason}) -> throw({?MODULE, Reason}).
