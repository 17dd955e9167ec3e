%%% The golden conversations in ErlPort's protocol, `tests/vectors/conversations.txt'.
-module(py_erlport_conversations).

-export([file/0, lines/0, for_erlang/0]).

-type line() :: {Name :: string(), Half :: string(), to_python | to_erlang, Frame :: binary(), Message :: term()}.

%% @doc Where they stand.
-spec file() -> file:filename().
file() -> find(filename:dirname(filename:absname(code:which(?MODULE))), "tests/vectors/conversations.txt").

%% @doc Every line, in order.
-spec lines() -> [line()].
lines() ->
    {ok, Content} = file:read_file(file()),
    [line(Line) || <<Head, _/binary>> = Line <- binary:split(Content, <<"\n">>, [global]), Head =/= $#].

%% @doc The conversations that the Erlang half is tried in: the messages to and from Python, in order.
-spec for_erlang() -> [{Name :: string(), [{to_python | to_erlang, term()}]}].
for_erlang() ->
    Lines = [{Name, {Direction, Message}} || {Name, Half, Direction, _, Message} <- lines(), Half =/= "python"],
    [{Name, proplists:get_all_values(Name, Lines)} || Name <- lists:usort([Name || {Name, _} <- Lines])].

line(Line) ->
    [Name, Half, Direction, Hex, Text] = binary:split(Line, <<"\t">>, [global]),
    {binary_to_list(Name), binary_to_list(Half), direction(Direction), binary:decode_hex(Hex), value(Text)}.

direction(<<">">>) -> to_python;
direction(<<"<">>) -> to_erlang.

value(Text) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list([Text, "."])),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []),
    Value.

find(Directory, Path) ->
    File = filename:join(Directory, Path),
    case {filelib:is_regular(File), filename:dirname(Directory)} of
        {true, _} -> File;
        {false, Directory} -> error({not_found, Path});
        {false, Parent} -> find(Parent, Path)
    end.
